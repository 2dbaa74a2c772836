"""A Markdown page as a list of code blocks, each with what the tests are to do with it.

What happens to a block follows from its language, unless a comment right before it says otherwise:

================================  ==================================================================
``python``                        executed; all blocks of a page share one namespace
``pycon``                         executed as a doctest
``bash``, ``console``             executed in a directory of the page's own; after a line ``$ command``
                                  the lines without ``$`` are its output (``...`` stands for anything)
``toml``                          loaded as a settings file
``json``                          parsed
``<!-- test: raises NAME -->``    the Python block must raise this exception
``<!-- test: stays -->``          the last command runs until the page ends; waits until it has printed
                                  what is shown
``<!-- test: output -->``         must be what the block before it printed (``...`` as above)
``<!-- test: key file -->``       the TOML block must be a good key file
``<!-- test: file NAME -->``      any block: written to that file, not executed
``<!-- test: elsewhere PATH -->``  another file of the repository runs it; the file must exist
``<!-- test: not run, REASON -->``  nothing; there should be nearly none
================================  ==================================================================

``<!-- test: first`` and ``<!-- test: then``, each followed by lines of Python and ``-->``, run that
Python at their place in the page, unseen by readers. Blocks of any other language, or of none, and
comments that no block follows are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUNNABLE = frozenset({"python", "pycon", "bash", "console", "toml", "json"})
WRITTEN_OUT = frozenset({"first", "then"})

_FENCE = re.compile(r"^(?P<indent>[ >]*)(?P<fence>`{3,})(?P<info>.*)$")
_COMMENT = re.compile(r"^\s*<!-- test: (?P<text>.*?)(?P<closed> -->)?\s*$")
_DIRECTIVE = re.compile(r"^\{(?P<name>[a-z-]+)\}\s*(?P<argument>.*)$")


class PageError(Exception):
    """The page cannot be tested as it is written."""


@dataclass(frozen=True)
class Block:
    """One piece of a page.

    :ivar line: of its first line of code, counted from 1.
    :ivar language: as written after the fence; ``first`` and ``then`` for hidden Python.
    :ivar action: the comment's text without ``test:``, or empty.
    """

    line: int
    language: str
    source: str
    action: str = ""


def read_page(path: Path) -> list[Block]:
    """Every block of a page.

    :raises PageError: with the line, where something would not be tested.
    """
    return list(_blocks(path.name, path.read_text("utf-8").splitlines()))


def _blocks(name: str, lines: list[str]) -> Iterator[Block]:
    action, position = "", 0
    while position < len(lines):
        text, start = lines[position], position
        position += 1
        comment, fence = _COMMENT.match(text), _FENCE.match(text)
        if comment and not comment["closed"]:
            end = _find(name, lines, position, "-->")
            kind = comment["text"].strip()
            if kind not in WRITTEN_OUT:
                raise PageError(f"{name}, line {position}: 'test: {kind}' takes no lines of its own")
            yield Block(position + 1, kind, "\n".join(lines[position:end]))
            position = end + 1
        elif comment:
            action = comment["text"].strip()
        elif fence:
            end = _find(name, lines, position, fence["indent"] + fence["fence"])
            indent = len(fence["indent"])
            body = [line[indent:] for line in lines[position:end]]
            position = end + 1
            block = _block(name, start, fence["info"].strip(), body, action)
            action = ""
            if block is not None:
                yield block
        elif text.strip() and action:
            raise PageError(f"{name}, line {position}: no block follows 'test: {action}'")


def _find(name: str, lines: list[str], start: int, closing: str) -> int:
    for position in range(start, len(lines)):
        if lines[position].strip() == closing.strip():
            return position
    raise PageError(f"{name}, line {start}: is never closed by {closing!r}")


def _block(name: str, start: int, info: str, body: list[str], action: str) -> Block | None:
    line = start + 2
    directive = _DIRECTIVE.match(info)
    if directive:
        if directive["name"] not in {"code-block", "code"}:
            return None
        info = directive["argument"]
        while body and (body[0].startswith(":") or not body[0]):
            line, body = line + 1, body[1:]
    language = info.partition(" ")[0]
    block = Block(line, language, "\n".join(body), action)
    if language not in RUNNABLE and not action.startswith(("output", "file ", "elsewhere ", "not run, ")):
        raise PageError(
            f"{name}, line {line}: a block of {language or 'no language'} would not be tested; "
            "see tests/docs/page.py for what can be said before it"
        )
    return block
