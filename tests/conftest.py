"""The watch over every test, and the fixtures that start real servers.

Whatever a test is about, it fails where a canary (see ``tests/harness/watch.py``) shows up in a
log record of any logger at DEBUG, in what was printed, or in a warning, and where an app behind
the guard was reached without an Allow. A test that must show one says so, with where and why::

    @pytest.mark.shows_canary("logs", reason="the page that prints a new key once")

Places are ``logs``, ``stdout`` and ``stderr``. Nothing switches off the other half.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.servers import RAN, RUNNING, SERVERS, LiveServer, live_server, missing
from tests.harness.watch import BREACHES, find_canary, watched_logs

PLACES = frozenset({"logs", "stdout", "stderr"})

StartServer = Callable[..., LiveServer]

_warned: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "shows_canary(*places, reason): this test makes a key visible on purpose; "
        f"places: {', '.join(sorted(PLACES))}",
    )


def _allowed_places(item: pytest.Item) -> frozenset[str]:
    places: set[str] = set()
    for mark in item.iter_markers("shows_canary"):
        if not mark.args or not set(mark.args) <= PLACES or not mark.kwargs.get("reason"):
            raise pytest.UsageError(
                f"{item.nodeid}: shows_canary needs one of {sorted(PLACES)} and a reason="
            )
        places.update(mark.args)
    return frozenset(places)


@pytest.fixture(autouse=True)
def watch(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test where an invariant was broken while it ran."""
    places = _allowed_places(request.node)
    BREACHES.take()
    with watched_logs() as leaks:
        yield
    for server in RUNNING:
        server.check()
    problems = BREACHES.take()
    if "logs" not in places:
        problems += [f"a canary is in a log record: {leak}" for leak in leaks]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.passed:
        places = _allowed_places(item)
        for title, text in report.sections:
            # "Captured stderr call": earlier phases have had their own report.
            _, place, when = (*title.split(), "", "", "")[:3]
            leaked = find_canary(text) if when == report.when and place not in places else None
            if place in PLACES and leaked is not None:
                report.outcome = "failed"
                report.longrepr = f"a canary is in {place}: ...{leaked}..."
    return report


def pytest_warning_recorded(warning_message: object, nodeid: str) -> None:
    leaked = find_canary(str(warning_message))
    if leaked is not None:
        _warned.append(f"{nodeid}: a canary is in a warning: ...{leaked}...")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _warned and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _warned:
        terminalreporter.write_line(line, red=True)
    if not RAN:
        return
    terminalreporter.write_line("live servers: " + ", ".join(f"{name} {RAN[name]}" for name in sorted(RAN)))
    absent = [f"{name} ({missing(name) or 'no test asked for it'})" for name in SERVERS if name not in RAN]
    if absent:
        terminalreporter.write_line("live servers that did not run: " + ", ".join(absent), yellow=True)


def _starter(stack: ExitStack, directory: Path) -> StartServer:
    started: dict[tuple[object, ...], LiveServer] = {}

    def start(name: str, app: str, *, env: Mapping[str, str] | None = None, ready: str = "/") -> LiveServer:
        key = (name, app, ready, *sorted((env or {}).items()))
        if key not in started:
            reason = missing(name)
            if reason is not None:
                pytest.skip(reason)
            place = directory / str(len(started))
            started[key] = stack.enter_context(live_server(name, app, place, env=env, ready=ready))
        return started[key]

    return start


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """``start_server(name, "module:app", env={...})`` -> a ``LiveServer`` that ends with the test."""
    with ExitStack() as stack:
        yield _starter(stack, tmp_path / "servers")


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """The same, but the server of the same arguments is started once for the whole run.

    Call ``forget()`` on it first in a test that reads ``seen()``.
    """
    with ExitStack() as stack:
        yield _starter(stack, tmp_path_factory.mktemp("servers"))
