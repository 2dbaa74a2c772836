"""What is found, whoever shows it: how much it matters, which word is for programs, and a sentence."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Level(IntEnum):
    """How much a finding matters; a problem makes the exit status 1."""

    GOOD = 0
    WARNING = 1
    PROBLEM = 2

    @property
    def style(self) -> str:
        """Its style on the console."""
        return ("good", "warn", "bad")[self]


class Finding(NamedTuple):
    """One sentence about the settings, the key service or an origin.

    :param code: one word that stays when the sentence is written anew.
    :param where: the paths of the routes that it is about, where it is about some only.
    """

    level: Level
    code: str
    text: str
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"warning: {self.text}" if self.level is Level.WARNING else self.text
