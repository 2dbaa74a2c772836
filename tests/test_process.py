"""What belongs to one process, when its first requests come at once and when it was forked (C-01, C-02)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from apikey_guard.process import PerProcess
from tests.harness.wire import PATIENCE_SECONDS


class Thing:
    """Knows whether it was let go of."""

    def __init__(self) -> None:
        self.abandoned = False

    def abandon(self) -> None:
        self.abandoned = True


def in_a_child(check: Callable[[], bool]) -> bool:
    """What the check says in a forked child."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if check() else 1)
    return os.waitpid(pid, 0)[1] == 0


def test_it_is_made_on_first_use_and_once() -> None:
    each = PerProcess(Thing)
    assert each.made() is None
    assert each.get() is each.get() is each.made()


def test_c01_two_first_uses_at_once_share_one_and_abandon_none() -> None:
    both_make = threading.Barrier(2, timeout=PATIENCE_SECONDS)

    def make() -> Thing:
        both_make.wait()
        return Thing()

    each = PerProcess(make, abandon=Thing.abandon)
    used: list[Thing] = []
    threads = [threading.Thread(target=lambda: used.append(each.get())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert used[0] is used[1] is each.get()
    assert not used[0].abandoned


def test_c01_a_child_makes_its_own_and_abandons_what_its_parent_left() -> None:
    each = PerProcess(Thing, abandon=Thing.abandon)
    mine = each.get()

    def is_anew() -> bool:
        return each.made() is None and each.get() is not mine and mine.abandoned and not each.get().abandoned

    assert in_a_child(is_anew)
    assert each.get() is mine
    assert not mine.abandoned


def test_c01_where_no_hook_runs_the_process_id_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under uWSGI; the id of the grandchild is that of the parent, which is gone."""
    each = PerProcess(Thing, abandon=Thing.abandon)
    ids = iter([7, 7, 8, 8, 8])
    monkeypatch.setattr(os, "getpid", lambda: next(ids))
    mine = each.get()
    theirs = each.get()
    assert theirs is not mine
    assert (mine.abandoned, theirs.abandoned) == (True, False)


def test_c01_a_grandchild_with_the_id_of_one_that_is_gone_makes_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 7)
    each = PerProcess(Thing)
    mine = each.get()
    assert in_a_child(lambda: each.get() is not mine)
