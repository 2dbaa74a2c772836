"""Random targets, made of what routers disagree about."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

TARGETS = int(os.environ.get("FUZZ_TARGETS", "600"))
SEED = int(os.environ.get("FUZZ_SEED", "7"))

_STARTS = ("/", "/", "/", "//", "/open/", "/moved/", "/;x/", "/.//", "http://h/", "http://h//", "")
_NAMES = (
    *("admin", "Admin", "ADMIN", "users", "Users", "report", "open", "moved", "x", "%61dmin"),
    *("report%2F", "adm\xc4\xb1n"),
)
_JOINTS = (
    *("/", "/", "/", "//", "///", "/./", "/../", "/x/../", "%2F", "%2f", "%5C", "/%2e%2e/"),
    *("/..;/", "/%252e%252e/"),
)
_ODD = (
    *(".", "..", ";", ";a=b", "%3B", "?", "%3F", "%23", "#", "%25", "%2561", "%252F", "%00"),
    *("%09", "%0A", "%20", "+", "@", ":", "*", "~", "|", "%", "%zz", "%u002f", "%u0061"),
    *("%C0%AF", "%C0%AE", "%E9", "\xe9", "%EF%BC%8F", "%E2%84%AA", "%C5%BF", "\\", "//h@"),
    *("http:", "&", "=", ",", "%7F", "%E2%80%A4"),
)


def targets(salt: str) -> Iterator[str]:
    """Request targets, latin-1, in the same order in every run.

    :param salt: other targets for another test.
    """
    chance = random.Random(f"{SEED} {salt}")
    for _ in range(TARGETS):
        pieces = [chance.choice(_STARTS)]
        for _ in range(chance.randint(1, 4)):
            pieces.append(chance.choice(_NAMES) if chance.random() < 0.6 else chance.choice(_ODD))
            if chance.random() < 0.8:
                pieces.append(chance.choice(_JOINTS) if chance.random() < 0.8 else chance.choice(_ODD))
        yield "".join(pieces)
