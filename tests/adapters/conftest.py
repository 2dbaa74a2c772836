"""Every adapter in turn, and at the end of a run which of them really took part in the conformance suite."""

from __future__ import annotations

import pytest

from tests.adapters.conformance import ADAPTERS, missing


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    """Each adapter whose framework is installed."""
    name: str = request.param
    why = missing(name)
    if why is not None:
        pytest.skip(why)
    return name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line with the adapters that ran, and one with those that did not."""
    reports = [
        *terminalreporter.getreports("passed"),
        *terminalreporter.getreports("failed"),
    ]
    ids = [report.nodeid for report in reports if "test_conformance.py" in report.nodeid]
    ran = {name: sum(f"[{name}-" in node or f"-{name}]" in node for node in ids) for name in ADAPTERS}
    if not any(ran.values()):
        return
    shown = ", ".join(f"{name} ({number} cases)" for name, number in ran.items() if number)
    terminalreporter.write_line(f"adapters that took part: {shown}")
    absent = [f"{name} ({missing(name) or 'not asked for'})" for name, number in ran.items() if not number]
    if absent:
        terminalreporter.write_line("adapters that did not: " + ", ".join(absent), yellow=True)
