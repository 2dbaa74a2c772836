"""The stand-in: what the app finds in the place where a verified key was.

It is different for each key and the same in every process, so what tells callers apart by the key
still does. It is no key: a text of its form opens nothing and is never asked about.
"""

from __future__ import annotations

import re
from typing import Final

#: What every stand-in begins with, and no key.
BEGINNING: Final = "apikey-guard-standin-"
#: The scheme in front of it in ``Authorization``: one of our own, which no framework takes for its own.
SCHEME: Final = "Apikey-Guard-Standin"

#: Characters below which a key may be weak enough to be guessed from its stand-in.
STRONG_LENGTH: Final = 20

#: Of the fingerprint: 40 hex digits.
STANDIN_BYTES: Final = 20
# Whatever begins so is of the form, with all that a key could have: what was cut short or rewritten on
# its way is no key either. A comma or a blank would join it to something else.
_FORM: Final = re.compile(re.escape(BEGINNING) + r"[!#-+\-.-:<-\[\]-~]*", re.IGNORECASE | re.ASCII)


def standin_of(fingerprint: bytes) -> str:
    """The stand-in for the credential with this fingerprint: letters, digits and ``-`` only."""
    return BEGINNING + fingerprint[:STANDIN_BYTES].hex()


def is_standin(text: str) -> bool:
    """Whether a text has the form of a stand-in, in any letter case; made by us or not."""
    return _FORM.fullmatch(text) is not None


def holds_standin(text: str) -> bool:
    """Whether there is one in a text, with whatever around it: an app may take off blanks and quotes."""
    return BEGINNING in text.lower()
