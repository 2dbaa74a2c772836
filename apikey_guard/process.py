"""What belongs to one process: made on first use there, and abandoned by its forked children."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """One thing for each process, whatever server forked it.

    :param make: makes it. Two threads may call it at once; what one of them made is then dropped, so it
        must hold no thread and no socket yet.
    :param abandon: lets go of one that a parent made, without a goodbye on its connections: they are the
        parent's. It stays referenced, so that no finaliser says one either.
    """

    def __init__(self, make: Callable[[], T], *, abandon: Callable[[T], None] | None = None) -> None:
        self._make = make
        self._abandon = abandon
        self._made: dict[int, T] = {}
        self._inherited: list[T] = []

    def get(self) -> T:
        """That of this process."""
        made = self._made.get(os.getpid())
        return self._begin() if made is None else made

    def made(self) -> T | None:
        """That of this process, if there is one yet."""
        return self._made.get(os.getpid())

    def _begin(self) -> T:
        pid = os.getpid()
        made = self._made.setdefault(pid, self._make())
        self._inherited += [self._made.pop(maker) for maker in set(self._made) - {pid}]
        if self._abandon is not None:
            for each in self._inherited:
                self._abandon(each)
        self._forget_in_children()
        return made

    def _forget_in_children(self) -> None:
        """A child may have the process id of one that is gone; without a hook (uWSGI), the id alone tells."""
        known = weakref.ref(self)

        def forget() -> None:
            # No lock, no goodbye: a thread of the parent may have been anywhere.
            alive = known()
            if alive is not None:
                alive._inherited, alive._made = [*alive._inherited, *alive._made.values()], {}

        os.register_at_fork(after_in_child=forget)
