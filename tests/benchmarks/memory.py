"""Bytes per remembered key: 100,000 of them, each with its own consumer, without and with scopes."""

from __future__ import annotations

import gc
import hashlib
import time
import tracemalloc

from apikey_guard import Consumer, Guard, Verdict

KEYS = 100_000


def verdict(number: int, *, scopes: bool) -> Verdict:
    # Made anew for each key, as a key service answers.
    said = {f"invoices:{what}" for what in ("read", "write", "delete")} if scopes else set()
    metadata = {"plan": "gold", "limits": [10, 100]} if scopes else {}
    consumer = Consumer(
        id=str(KEYS + number), username=f"consumer-{number}", scopes=frozenset(said), metadata=metadata
    )
    return Verdict(valid=True, consumer=consumer, credential_id=f"c-{number}")


def main() -> None:
    for name, scopes, goal in (
        ("own consumer", False, "420, never above 480"),
        ("scopes and metadata", True, "450, never above 500"),
    ):
        store = Guard(key_service=lambda credential: Verdict.invalid()).verifier.store
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(KEYS):
            store(hashlib.sha256(b"key-%d" % number).digest(), verdict(number, scopes=scopes))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        print(f"{name}: {grown / KEYS:.0f} bytes per key at {KEYS} keys (goal {goal})")
        started = time.perf_counter()
        for number in range(KEYS, 2 * KEYS):
            store(hashlib.sha256(b"key-%d" % number).digest(), verdict(number, scopes=scopes))
        print(f"{(time.perf_counter() - started) / KEYS * 1e6:.1f} us to store one more when full")


if __name__ == "__main__":
    main()
