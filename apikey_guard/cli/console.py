"""What is written for people: coloured on a terminal, plain text where it is piped or kept.

Nothing that came from elsewhere (names of consumers, paths) is written without
:func:`~apikey_guard.diagnosis.words.printable`:
a terminal obeys control characters.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TextIO

# A wait that is shorter needs no explanation.
QUIET_SECONDS: Final = 1.0

_STYLES: Final[Mapping[str, str]] = {
    "bold": "1",
    "dim": "2",
    "good": "32",
    "bad": "31",
    "warn": "33",
    "title": "1;36",
}
_CLEAR_LINE: Final = "\r\x1b[K"


class Console:
    """Standard output and standard error, as far as each can show things.

    :param out: for results.
    :param err: for errors, hints and progress, which are no part of a result.
    :param environ: ``NO_COLOR`` (any value) and ``TERM=dumb`` switch colours off.
    """

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str]) -> None:
        self.out, self.err = out, err
        for stream in (out, err):
            # A name outside of the terminal's encoding is escaped, not a crash.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self.is_terminal = out.isatty()
        wanted = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self._out_colours = self.is_terminal and wanted
        self._err_colours = err.isatty() and wanted
        self._signs = ("ok", "FAIL", "!", "-") if not _speaks_unicode(out) else ("✓", "✗", "!", "·")

    # -- results -------------------------------------------------------------------------------

    def say(self, line: str = "") -> None:
        """One line of the result, at once."""
        print(line, file=self.out, flush=True)

    def paint(self, text: str, style: str) -> str:
        """The text in a style where standard output shows colours, else as it is."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._out_colours and text else text

    def sign(self, level: str) -> str:
        """The mark of a line: ``good``, ``bad`` or ``warn``; all of them are equally wide."""
        good, bad, warn, _ = self._signs
        text = {"good": good, "bad": bad, "warn": warn}[level]
        return self.paint(text.ljust(self.sign_width), level)

    @property
    def sign_width(self) -> int:
        """How wide :meth:`sign` is."""
        return max(map(len, self._signs))

    @property
    def nothing(self) -> str:
        """What stands in a table where there is nothing."""
        return self._signs[3]

    def table(self, rows: Sequence[Sequence[str]], *, heading: Sequence[str] = ()) -> None:
        """Aligned columns under a heading on a terminal; elsewhere one tab-separated record per line."""
        if not self.is_terminal:
            for row in rows:
                self.say("\t".join(row))
            return
        shown = [[cell or self.nothing for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(heading, *shown, strict=True)]
        self.say(self.paint(_aligned(heading, widths), "dim"))
        for row in shown:
            self.say(_aligned(row, widths))

    # -- beside the results --------------------------------------------------------------------

    def hint(self, line: str) -> None:
        """One line that is no part of the result."""
        print(line, file=self.err, flush=True)

    def warn(self, line: str) -> None:
        """One line about something that is not as it should be, but stops nothing."""
        self._mark("warning:", "warn", line)

    def fail(self, line: str, more: Sequence[str] = ()) -> None:
        """One line that says what could not be done, and one more for each single problem."""
        self._mark("error:", "bad", line)
        for problem in more:
            self.hint(f"  - {problem}")

    def _mark(self, word: str, style: str, line: str) -> None:
        painted = f"\x1b[{_STYLES[style]}m{word}\x1b[0m" if self._err_colours else word
        self.hint(f"{painted} {line}")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say on a terminal what is waited for, once it has lasted a second."""
        if not self.err.isatty():
            yield
            return
        lock, over, said = threading.Lock(), False, False

        def tell() -> None:
            nonlocal said
            with lock:
                if not over:
                    said = True
                    print(f"{what} ...", end="", file=self.err, flush=True)

        timer = threading.Timer(QUIET_SECONDS, tell)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with lock:
                over = True
            if said:
                print(_CLEAR_LINE, end="", file=self.err, flush=True)


def shortened(text: str, width: int) -> str:
    """The text, cut to a width."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _speaks_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"
