"""What one process remembers: two bounded stores, of which neither can push anything out of the other."""

from __future__ import annotations

import pytest

from apikey_guard.core.freshness import Lifetimes, Remembered
from apikey_guard.core.model import Consumer, Verdict
from apikey_guard.verification.memory import MemoryCache
from tests.harness.guarded import at_once


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def entry(name: str = "acme") -> Remembered:
    lifetimes = Lifetimes(ttl=60, negative_ttl=5, stale_if_error=300)
    verdict = Verdict(valid=True, consumer=Consumer(id=name))
    made = lifetimes.remember(verdict, now=0.0, wall_time=0.0, chance=0.5)
    assert made is not None
    return made


def test_d01_a_flood_of_invalid_ones_pushes_no_valid_one_out() -> None:
    cache = MemoryCache(max_entries=100, negative_max_entries=50)
    for number in range(100):
        cache.put_valid(key(number), entry())
    for number in range(1_000, 11_000):
        cache.put_invalid(key(number), 5.0)
    assert all(key(number) in cache.valid for number in range(100))
    assert len(cache.invalid) <= 50


@pytest.mark.parametrize("most", [1, 2, 63, 64, 1_000])
def test_d09_a_bound_is_a_bound_and_the_youngest_stay(most: int) -> None:
    cache = MemoryCache(max_entries=most, negative_max_entries=most)
    for number in range(3 * most):
        cache.put_valid(key(number), entry())
        cache.put_invalid(key(10_000 + number), 5.0)
        assert len(cache.valid) <= most
        assert len(cache.invalid) <= most
    assert key(3 * most - 1) in cache.valid
    assert key(0) not in cache.valid


def test_d09_a_bound_of_zero_remembers_nothing() -> None:
    cache = MemoryCache(max_entries=0, negative_max_entries=0)
    cache.put_valid(key(1), entry())
    cache.put_invalid(key(2), 5.0)
    assert (len(cache.valid), len(cache.invalid)) == (0, 0)


def test_an_entry_that_is_verified_again_moves_to_the_young_end() -> None:
    cache = MemoryCache(max_entries=2, negative_max_entries=2)
    cache.put_valid(key(1), entry())
    cache.put_valid(key(2), entry())
    cache.put_valid(key(1), entry("again"))
    cache.put_valid(key(3), entry())
    assert set(cache.valid) == {key(1), key(3)}
    assert cache.valid[key(1)].id == "again"


def test_v11_the_newer_verdict_replaces_the_other_kind() -> None:
    cache = MemoryCache(max_entries=2, negative_max_entries=2)
    cache.put_valid(key(1), entry())
    cache.put_invalid(key(1), 5.0)
    assert (list(cache.valid), list(cache.invalid)) == ([], [key(1)])
    cache.put_valid(key(1), entry())
    assert (list(cache.valid), list(cache.invalid)) == ([key(1)], [])


def test_what_is_dropped_is_counted_and_the_rest_stays() -> None:
    cache = MemoryCache(max_entries=9, negative_max_entries=9)
    for number, name in enumerate(["acme", "globex", "acme"]):
        cache.put_valid(key(number), entry(name))
    cache.put_invalid(key(7), 5.0)
    assert cache.drop(lambda _, found: found is not None and found.id == "acme") == 2
    assert (list(cache.valid), list(cache.invalid)) == ([key(1)], [key(7)])
    assert cache.drop_one(key(7)) == 0
    assert cache.drop_one(key(1)) == 1
    assert cache.drop_one(key(1)) == 0
    cache.put_valid(key(2), entry())
    assert cache.clear() == 1
    assert (len(cache.valid), len(cache.invalid)) == (0, 0)


def test_marks_of_failures_go_with_an_answer_and_are_bounded() -> None:
    cache = MemoryCache(max_entries=9, negative_max_entries=9)
    cache.rest(key(1), 11.0)
    assert cache.failed.get(key(1)) == 11.0
    cache.answered(key(1))
    assert key(1) not in cache.failed
    for number in range(10_000):
        cache.rest(key(number), 11.0)
        cache.put_unusable(key(number), 11.0)
    assert len(cache.failed) <= 4096
    assert len(cache.unusable) <= 4096


def test_an_entry_is_swapped_only_where_it_still_stands() -> None:
    cache = MemoryCache(max_entries=9, negative_max_entries=9)
    first, second = entry(), entry()
    cache.put_valid(key(1), first)
    cache.swap(key(1), first, second)
    cache.swap(key(1), first, entry())
    assert cache.valid[key(1)] is second
    cache.put_invalid(key(1), 5.0)
    cache.swap(key(1), second, first)
    assert key(1) not in cache.valid


def test_c10_threads_never_push_it_over_its_bounds() -> None:
    cache = MemoryCache(max_entries=50, negative_max_entries=20)

    def write(worker: int) -> bool:
        for number in range(500):
            cache.put_valid(key(worker * 1_000 + number), entry())
            cache.put_invalid(key(1_000_000 + worker * 1_000 + number), 5.0)
            if len(cache.valid) > 50 or len(cache.invalid) > 20:
                return False
        return True

    assert all(at_once([lambda worker=worker: write(worker) for worker in range(8)]))  # type: ignore[misc]  # bound early
