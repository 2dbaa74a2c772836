"""A caller who is ended while a hook runs in his thread: the others get their answer (threat C-07)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from apikey_guard import Consumer, Credential, Guard, Verdict
from tests.harness.guarded import GOOD, settle

ROOT = Path(__file__).parents[2]
VALID = Verdict(valid=True, consumer=Consumer(id="1"))

# It prints how the first caller ended and what the others got, then the breaker and what is left over.
UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys
import gevent
from apikey_guard import Credential, Guard, Verdict
from apikey_guard.testing import ManualClock

way, when = sys.argv[1:]
keys = [f"KCANARY-{number}" for number in range(12 if when == "valid lately" else 1)]
clock, hangs = ManualClock(), False
begun = gevent.event.Event()

class Own(gevent.Timeout):
    pass

def hook(credential):
    if hangs:
        begun.set()
        gevent.sleep(30)
    return Verdict(valid=True)

guard = Guard(key_service=hook, clock=clock, cache_ttl=60, stale_if_error=0)

def check(key):
    return guard.check({"REQUEST_METHOD": "GET", "HTTP_APIKEY": key}, "/").allowed

def ended(key):
    if way == "kill":
        return check(key)
    with {"timeout": gevent.Timeout, "own timeout": Own}[way](0.2):
        return check(key)

told = []
for key in keys:
    if when == "valid lately":
        assert check(key)
        clock.advance(61)
    begun.clear()
    hangs = True
    first = gevent.spawn(ended, key)
    begun.wait(10)
    others = [gevent.spawn(check, key) for _ in range(3)]
    gevent.sleep(0)
    hangs = False
    if way == "kill":
        first.kill()
    gevent.joinall([first, *others], timeout=20)
    how = first.value if way == "kill" else first.exception
    told.append((type(how).__name__, *[other.value for other in others]))
print(*{repr(each) for each in told}, guard.stats()["breaker_open"], guard.stats()["verifications_under_way"])
"""


def printed(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("when", ["never seen", "valid lately"])
@pytest.mark.parametrize(
    ("way", "error"),
    {"kill": "GreenletExit", "timeout": "Timeout", "own timeout": "Own"}.items(),
    ids=["killed", "gevent.Timeout", "a kind of gevent.Timeout"],
)
def test_c07_a_greenlet_that_is_ended_leaves_its_question_to_the_others(
    way: str, error: str, when: str
) -> None:
    assert printed(UNDER_GEVENT, way, when) == f"('{error}', True, True, True) False 0"


OWN_TIMEOUT = """
from gevent import monkey
monkey.patch_all()
import gevent
from apikey_guard import Guard

def hook(credential):
    with gevent.Timeout(0.01):
        gevent.sleep(30)

guard = Guard(key_service=hook)
print(guard.check({"REQUEST_METHOD": "GET", "HTTP_APIKEY": "KCANARY"}, "/").reason)
"""


def test_c07_a_timeout_of_a_hooks_own_is_a_failure_of_the_hook() -> None:
    assert printed(OWN_TIMEOUT) == "key_service_unavailable"


def test_c07_control_c_in_a_hook_ends_its_caller_alone() -> None:
    first, others = True, []

    def hook(credential: Credential) -> Verdict:
        nonlocal first
        if not first:
            return VALID
        first = False
        other.start()
        while not other.ident:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            time.sleep(0.01)
        return Verdict.invalid()

    def check() -> bool:
        return guard.check({"REQUEST_METHOD": "GET", "HTTP_APIKEY": GOOD}, "/").allowed

    with Guard(key_service=hook, validator_timeout=10) as guard:
        other = threading.Thread(target=lambda: others.append(check()))
        with pytest.raises(KeyboardInterrupt):
            check()
        other.join(20)
        settle(guard)
    assert others == [True]
