"""The text of a key file: every problem named with its line, nothing of the file repeated."""

from __future__ import annotations

import hashlib

import pytest

from apikey_guard.errors import KeyFileError
from apikey_guard.keyservice.keyfile.records import MAX_PROBLEMS, KeyFile, parse

KEY = "KCANARY-good"


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def block(key: str = KEY, *lines: str, id: str = "c-1") -> str:  # noqa: A002  # the file's own word
    return "\n".join(["[[keys]]", f'id = "{id}"', f'sha256 = "{sha256(key)}"', *lines]) + "\n"


def problem_in(text: str | bytes) -> str:
    with pytest.raises(KeyFileError) as caught:
        parse(text.encode() if isinstance(text, str) else text, path="keys.toml")
    message = str(caught.value)
    assert message.startswith("the key file keys.toml cannot be used: ")
    assert "KCANARY" not in message
    assert "\n" not in message
    return message.partition("cannot be used: ")[2]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    file = parse(b"\xef\xbb\xbf" + block().encode(), path="keys.toml")
    assert (file.text, [entry.credential_id for entry in file.entries]) == (block(), ["c-1"])
    assert problem_in(b"\xef\xbb\xbf" + block(KEY, "expire = 1").encode()).startswith("line 4: ")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_with_what_helps(codec: str) -> None:
    mark = b"" if codec == "utf-16" else "\ufeff".encode(codec)
    assert problem_in(mark + block().encode(codec)) == "line 1: not UTF-8: it is UTF-16, save it anew"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (block(KEY, "expire = 2027-01-01"), "line 4: an unknown member: expire (did you mean expires?"),
        (block(KEY, 'KCANARY-x = "a"'), "line 4: an unknown member (known are id, sha256, consumer, scopes,"),
        (block(KEY, "[keys.meta]", "a = 1"), "line 4: an unknown member: meta (did you mean metadata?)"),
        ("# c\n" + block() + "[[key]]\n", "an unknown member at the top: key (did you mean keys?)"),
        ("KCANARY = 1\n", "an unknown member at the top (known are keys)"),
        (block(KEY, 'consumer.name = "a"'), "line 4: an unknown member of consumer: name (did you mean"),
        ("\n\n[[keys]]\n", "line 3: id is missing: the name of the key; line 3: sha256 must be the SHA-256"),
        ('[[keys]]\nid = "KCANARY"\n', "line 1: sha256 must be the SHA-256 of the key: 64 hexadecimal"),
        ('[[keys]]\nid = "a"\n\n# c\nsha256 = "KCANARY"\n', "line 5: sha256 must be the SHA-256 of the key"),
        (block().replace(sha256(KEY), sha256(KEY)[:-1]), "line 3: sha256 must be"),
        (block().replace(sha256(KEY), sha256(KEY) + "\\n"), "line 3: sha256 must be"),
        (block().replace(f'"{sha256(KEY)}"', "7"), "line 3: sha256 must be"),
        (block() + block("other"), "line 5: the same id as line 2"),
        (block() + "\n# c\n" + block(id="c-2"), "line 8: the same sha256 as line 3"),
        (block().replace('"c-1"', "true"), "line 2: id must be a text: write it in quotes"),
        (block().replace('"c-1"', '""'), "line 2: id must not be empty"),
        (block(KEY, "consumer.id = 4.2"), "line 4: consumer.id must be a text: write it in quotes"),
        (block(KEY, 'consumer = "KCANARY"'), 'line 4: consumer must be a table: { id = "42"'),
        (block(KEY, 'consumer.username = "a\\r\\nX-Admin: 1"'), "line 4: consumer.username must be at"),
        (block(KEY, 'consumer.custom_id = "\\u2028"'), "line 4: consumer.custom_id must be at most 256"),
        (block(KEY, 'consumer.custom_id = " a"'), "line 4: consumer.custom_id must be at most 256"),
        (block(KEY, f'consumer.id = "{"a" * 257}"'), "line 4: consumer.id must be at most 256"),
        (block(KEY, "", "", 'scopes = "read"'), 'line 6: scopes must be a list of texts without spaces: ["'),
        (block(KEY, 'scopes = ["read write"]'), "line 4: scopes must be a list of texts without spaces"),
        (block(KEY, "expires = 9999-12-31T23:00:00-12:00"), "line 4: expires must be a date and time"),
        (block(KEY, "scopes = [1]"), "line 4: scopes must be a list of texts"),
        (block(KEY, "metadata = 1"), 'line 4: metadata must be a table: { plan = "gold" }'),
        (block(KEY, "metadata = { a = [nan] }"), "line 4: metadata cannot hold inf or nan"),
        (block(KEY, "metadata.a" + ".a" * 5000 + " = 1"), "metadata is nested too deeply"),
        (block(KEY, "expires = 2027-01-01T00:00:00"), "line 4: expires must be a date and time with"),
        (block(KEY, "expires = 2027-01-01"), "line 4: expires must be a date and time"),
        (block(KEY, "expires = true"), "line 4: expires must be a date and time"),
        (block(KEY, 'expires = "tomorrow"'), "line 4: expires must be a date and time"),
        (block(KEY, "created = 1"), "line 4: created must be a date and time"),
        (block(KEY, "revoked = false"), "line 4: revoked must be a date and time with its offset, like"),
        (block(KEY, 'revoked = "true"'), "line 4: revoked must be a date and time"),
        ("keys = 1", "keys must be written as [[keys]] blocks"),
        ("keys = [1]", "keys must be written as [[keys]] blocks"),
        ("[keys]\na = 1", "keys must be written as [[keys]] blocks"),
        ('keys = [{ id = "a" }]', "key 1: sha256 must be"),
        (block() + "oops KCANARY\n", "line 4, column 6: not valid TOML"),
        (block(KEY, 'KCANARY = 1\nKCANARY = "a'), "line 5, column"),
        (block() + 'a = """x\n', "at its end: not valid TOML"),
        (block().encode() + b"a = '\xff'\n", "line 4: not UTF-8"),
        ("a = " + "[" * 100_000, "not valid TOML: a number too long, or arrays nested too deeply"),
        ("a = " + "1" * 5000, "not valid TOML: a number too long, or arrays nested too deeply"),
    ],
    ids=lambda value: ascii(value)[-40:] if isinstance(value, str | bytes) else "",
)  # fmt: skip
def test_problems_are_named_with_their_lines_and_nothing_is_repeated(text: str | bytes, problem: str) -> None:
    assert problem in problem_in(text)


def test_all_problems_are_listed_up_to_a_bound() -> None:
    message = problem_in("".join(f'[[keys]]\nid = "c-{i}"\n' for i in range(MAX_PROBLEMS + 5)))
    assert message.count("sha256 must be") == MAX_PROBLEMS
    assert message.endswith("; and 5 more")


def test_lines_are_right_in_a_file_full_of_traps() -> None:
    parsed: KeyFile = parse(
        b"""# [[keys]]
[[ keys ]]   # first
id = "[[keys]] # \\""
"sha256" = '%b'
metadata.text = \"\"\"
[[keys]]
id = "no"\\"\"\"\"\"
metadata.literal = '''
[[keys]]'''''
metadata.ends = [\"\"\"x\"\"\"\", "]"]
scopes = [
  "[[keys]]", # [
  "]",
]
  [keys.consumer]
  id = "42"

[["keys"]]
id = "c-2"
sha256 = "%b" # last"""
        % (sha256(KEY).encode(), sha256("KCANARY-2").encode()),
        path="keys.toml",
    )
    first, second = parsed.blocks
    assert (first.line, second.line) == (2, 18)
    assert dict(first.members) == {"id": 3, "sha256": 4, "metadata": 5, "scopes": 11, "consumer": 15}
    assert parsed.text[first.insert_at :].startswith("  [keys.consumer]")
    assert second.insert_at == len(parsed.text)
