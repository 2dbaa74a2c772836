"""Bytes per remembered key: 100,000 of them, each with its own consumer."""

from __future__ import annotations

import gc
import hashlib
import time
import tracemalloc

from apikey_guard import Consumer, Guard, Verdict

KEYS = 100_000


def verdict(number: int) -> Verdict:
    consumer = Consumer(id=str(KEYS + number), username=f"consumer-{number}")
    return Verdict(valid=True, consumer=consumer, credential_id=f"c-{number}")


def main() -> None:
    store = Guard(key_service=lambda credential: Verdict.invalid())._verifier.store
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(KEYS):
        store(hashlib.sha256(b"key-%d" % number).digest(), verdict(number))
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    print(f"{grown / KEYS:.0f} bytes per key at {KEYS} keys (goal 450, never above 600)")
    started = time.perf_counter()
    for number in range(KEYS, 2 * KEYS):
        store(hashlib.sha256(b"key-%d" % number).digest(), verdict(number))
    print(f"{(time.perf_counter() - started) / KEYS * 1e6:.1f} us to store one more when full")


if __name__ == "__main__":
    main()
