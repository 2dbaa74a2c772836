"""The words of docs/glossary.md are in use, and those that it rules out are in no name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.docs.run_page import ROOT
from tests.import_rules import FLOORS, PACKAGE

PAGE = (ROOT / "docs" / "glossary.md").read_text("utf-8")
MEANT, _, NOT_USED = PAGE.partition("## Words that are not used")
SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))


def words_of(part: str) -> list[str]:
    """The words in the first column of a table."""
    rows = re.findall(r"^\| ([a-z, -]+) \|", part, re.MULTILINE)
    return [word for row in rows[1:] for word in row.split(", ")]


WORDS, RULED_OUT = words_of(MEANT), words_of(NOT_USED)

# Names that have such a word in them, and whose word it is.
WORDS_OF_OTHERS: Mapping[str, str] = {
    r"_TOKEN": "RFC 9110: of what a name in a header is made",
    r"ConsumerUser|user": "Django: what request.user is",
    r"_?(validator_)?client_cert": "requests: the certificate of the one who asks",
    r"client_id": "RFC 7662",
    r"_?prox(y|ies)|_?proxy_\w+|validator_proxy|trusted_proxies": "proxies of others, and names of requests",
    r"OriginClient|_?(make_)?clients?": "the glossary: an origin client",
}


def names_in(source: str) -> Iterator[str]:
    """Every name that a source gives to something."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.MatchAs(name=str(name)) | ast.alias(asname=str(name)):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def ruled_out_in(name: str) -> set[str]:
    """The words of a name that are not to be used, also in the plural."""
    parts = {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    plurals = {part.removesuffix("s") for part in parts} | {re.sub("ies$", "y", part) for part in parts}
    return set(RULED_OUT) & (parts | plurals)


NAMES = {
    (name, str(path.relative_to(ROOT)))
    for path in SOURCES
    for name in [path.stem, path.parent.name, *names_in(path.read_text("utf-8"))]
    if ruled_out_in(name)
}


def test_no_name_has_a_word_that_is_ruled_out() -> None:
    known = re.compile("|".join(WORDS_OF_OTHERS))
    assert sorted(found for found in NAMES if not known.fullmatch(found[0])) == []


@pytest.mark.parametrize("pattern", WORDS_OF_OTHERS)
def test_nothing_is_excepted_that_is_not_there(pattern: str) -> None:
    assert any(re.fullmatch(pattern, name) for name, _ in NAMES)


def test_a_word_is_seen_wherever_it_is_in_a_name() -> None:
    assert ruled_out_in("HTTPProxyManager") == {"proxy", "manager"}
    assert ruled_out_in("_user_tokens") == {"user", "token"}
    assert ruled_out_in("trusted_proxies") == {"proxy"}
    assert ruled_out_in("username, tokenize, clientele") == set()
    source = (
        "import x as helper\ndef f(client): upstream = 1\nclass Users: pass\nmatch y:\n case user: z.util = 2"
    )
    assert {*names_in(source)} == {"helper", "f", "client", "upstream", "Users", "user", "util"}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_told_once_and_is_in_use(word: str) -> None:
    assert WORDS.count(word) == 1
    pattern = re.compile(rf"\b{word.replace(' ', '[ _]?')}(s|es)?\b|{word.replace(' ', '')}", re.IGNORECASE)
    pages = [path for path in (ROOT / "docs").glob("*.md") if path.name != "glossary.md"]
    assert any(pattern.search(path.read_text("utf-8")) for path in [*SOURCES, *pages])


def test_what_is_ruled_out_is_no_word_of_ours() -> None:
    assert RULED_OUT
    assert set(RULED_OUT) & {*WORDS, *FLOORS} == set()


def test_floors_that_are_no_names_of_files_are_explained() -> None:
    there = {Path(path).stem for path in SOURCES} | {path.parent.name for path in SOURCES}
    for floor in FLOORS:
        assert {floor, floor.removesuffix("s")} & {*WORDS, *there}, floor
