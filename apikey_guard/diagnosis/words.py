"""Texts for people: safe on a terminal, whichever part of the program shows them."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text from elsewhere, on one line, with every control character escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def milliseconds(seconds: float) -> str:
    """A short time, for people."""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
