"""Where the ``[[name]]`` blocks of a TOML text stand, and where each may be added to.

``tomllib`` reads values but forgets their places. Messages need the lines, and an edit that keeps
comments and every other byte needs the exact place. The text must have passed ``tomllib`` before:
this only tells statements, strings and comments apart, it checks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

# In this order: a multi-line string starts like a plain one, and may end with two more quotes.
_LEXEME: Final = re.compile(
    r'"""(?:\\.|[^\\])*?""["]{1,3}'
    r"|'''.*?''[']{1,3}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}\n]",
    re.DOTALL,
)
_KEY: Final = r"""["']?([A-Za-z0-9_-]+)["']?\s*"""
_HEADER: Final = re.compile(rf"(\[\[?)\s*{_KEY}(?:\.\s*{_KEY})?")
_MEMBER: Final = re.compile(_KEY)


class Block(NamedTuple):
    """One ``[[name]]`` block.

    :param line: of its header, from 1.
    :param members: the line of each member and sub-table, by name.
    :param insert_at: the offset after its last own member, where one more may be written.
    """

    line: int
    members: Mapping[str, int]
    insert_at: int


def find_blocks(text: str, name: str) -> tuple[Block, ...]:
    """Every ``[[name]]`` block of a valid TOML text, in order."""
    blocks: list[Block] = []
    members: dict[str, int] = {}
    own = False  # whether members are the block's own: not before it, not in a sub-table
    for start, end, line in _statements(text):
        statement = text[start:end].lstrip(" \t")
        header = _HEADER.match(statement)
        if header is not None:
            own = header[2] == name and header[3] is None and header[1] == "[["
            if own:
                members = {}
                blocks.append(Block(line, members, end))
            elif header[2] == name and header[3] is not None:
                members.setdefault(header[3], line)
        elif own and (member := _MEMBER.match(statement)) is not None:
            members.setdefault(member[1], line)
            blocks[-1] = blocks[-1]._replace(insert_at=end)
    return tuple(blocks)


def _statements(text: str) -> Iterator[tuple[int, int, int]]:
    """Start, end (its line break included) and line of each statement, comment or blank line."""
    start, line, first_line, depth = 0, 1, 1, 0
    for match in _LEXEME.finditer(text):
        lexeme = match[0]
        line += lexeme.count("\n")
        if lexeme in ("[", "{"):
            depth += 1
        elif lexeme in ("]", "}"):
            depth -= 1
        elif lexeme == "\n" and depth == 0:
            yield start, match.end(), first_line
            start, first_line = match.end(), line
    if start < len(text):
        yield start, len(text), first_line
