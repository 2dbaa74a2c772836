"""Runs the benchmarks named on the command line, or all of them; one with options is named alone."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import platform
import sys

BENCHMARKS = (
    "wsgi_hit",
    "refusals",
    "memory",
    "storm",
    "outage",
    "routes",
    "json_body_hit",
    "flask_hit",
    "django_hit",
    "forwarding",
)


def main() -> int:
    known = [name for name in BENCHMARKS if importlib.util.find_spec(f"tests.benchmarks.{name}")]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(known)}")
    options, rest = parser.parse_known_args()
    names = options.names or known
    unknown = sorted(set(names) - set(known))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}")
    mains = {name: importlib.import_module(f"tests.benchmarks.{name}").main for name in names}
    if rest and not (len(names) == 1 and inspect.signature(mains[names[0]]).parameters):
        parser.error(f"no such option: {' '.join(rest)}")
    print(f"Python {platform.python_version()}, {platform.machine()}; read the ratios, not the times")
    for name, benchmark in mains.items():
        print(f"\n== {name}", flush=True)
        benchmark(*([rest] if rest else []))
    return 0


if __name__ == "__main__":
    sys.exit(main())
