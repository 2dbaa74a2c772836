"""A program that is measured: its process group ends with the benchmark, and tells its CPU and its memory."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.forwarding.apps import KEY, ONE_KIB

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SET_PARENT_DEATH_SIGNAL = 1
SECONDS_TO_START = 20
SECONDS_TO_STOP = 5


class DidNotStart(Exception):
    """The program ended, or did not listen in time."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answer_of(port: int, path: str) -> bytes:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        connection.request("GET", path, headers={"apikey": KEY})
        return connection.getresponse().read()


def _end_with_the_benchmark() -> None:
    # Runs in the child. Even a benchmark that is killed leaves nothing behind.
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


class Program:
    """One program in a process group of its own, which listens at a port."""

    def __init__(self, name: str, command: Sequence[str], port: int) -> None:
        self.name = name
        self.port = port
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed in stop)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_the_benchmark,
        )

    def wait_until_it_answers(self) -> None:
        """It gives out what the origin has, byte for byte."""
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if answer_of(self.port, "/files/1k") == ONE_KIB:
                    return
            time.sleep(0.05)
        raise DidNotStart(self._last_words())

    def _last_words(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        errors = [line for line in lines if "Error" in line]
        return (errors or lines or ["no word of why"])[-1]

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Nothing of the group is left, whatever it thinks of that."""
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_STOP)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._output.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def members(self) -> list[int]:
        """The processes of the group: a server's first process and its workers."""
        found = []
        for pid, fields in _all_processes():
            if int(fields[2]) == self._process.pid:
                found.append(pid)
        return found

    def cpu_seconds(self) -> float:
        """User and system time of the group, and of those of its children that have ended."""
        ticks = 0
        for _, fields in _all_processes():
            if int(fields[2]) == self._process.pid:
                ticks += sum(map(int, fields[11:15]))
        return ticks / TICKS_PER_SECOND

    def forget_peak(self) -> int:
        """The memory in use now, in bytes; from here on the peak is counted anew."""
        for pid in self.members():
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    def peak(self) -> int:
        return self._memory("VmHWM")

    def _memory(self, field: str) -> int:
        return sum(_status_bytes(pid, field) for pid in self.members())


def _all_processes() -> Iterator[tuple[int, list[str]]]:
    """Each process with the fields of its ``stat`` after the name: state, parent, group, ..."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(entry.path, "stat").read_text()
                yield int(entry.name), stat.rpartition(")")[2].split()


def _status_bytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def running(programs: Sequence[Program]) -> Iterator[None]:
    """All of them are stopped at the end, first asked all at once, then one after the other."""
    try:
        yield
    finally:
        for program in programs:
            program.ask_to_stop()
        for program in programs:
            program.stop()
