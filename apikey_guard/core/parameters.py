"""Parameters in texts: in a query, in a URL, and in a text that may hold several, encoded or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote, unquote

from apikey_guard.core.extraction import Parameter
from apikey_guard.core.nested import Nested

# What is put in the place of a value: the value itself to leave it, None to take it away.
Change = Callable[[str], str | None]

# URLs end here in texts that hold several, such as Link, and what may follow one.
_WORD: Final = re.compile(r'[^ \t\r\n<>"]+')
# So does a header that was sent twice and joined.
_NEXT_URL: Final = re.compile(r",(?=[A-Za-z][A-Za-z0-9+.-]*://|/[^?#&=,]*\?)")
# Pairs with neither path nor host before them, as in cookies without blanks.
_LISTED: Final = re.compile(r"[^/?#,;]*[,;]")
_SEPARATOR: Final = re.compile("([,;])")
_TAIL: Final = re.compile(r"[,;]*\Z")
# A query by itself has a name before anything that a path or host could have.
_BARE: Final = re.compile(r"[^/?#:&=]*[&=]")
# A key with one of these is another text as soon as somebody has decoded it.
_SPECIAL: Final = re.compile(r"[&#+%?=<>]")
# Only one value can have been a key; many of them are an attempt to make us work.
_SPECIAL_PAIRS: Final = 8
# A cookie holds a URL that has another one in a parameter: each is encoded, and two steps of five.
# Nobody writes more, and work stays linear.
DEPTH: Final = 5
# What follows a key where a text goes on: characters that no key has, or the end of brackets and quotes.
_GOES_ON: Final = re.compile(r'[,;"\\]')
_CLOSING: Final = ")]}>'.:!"


def only(key: str, standin: str | None) -> Change:
    """What puts the stand-in in the place of one key, and takes every other value away."""
    return lambda value: standin if value == key else None


def exchanged(text: str, name: str, key: str, standin: str | None, separator: str) -> str | None:
    """A text in which a pair stands once, exactly as ``name=key``, with the stand-in; None for any other.

    :param standin: None is without the pair.
    :param separator: of the pairs; a space may follow it.
    """
    head, pair, tail = text.partition(f"{name}={key}")
    if (
        not pair
        or name in head
        or name in tail
        or (head and head[-1] != separator and head[-2:] != separator + " ")
        or (tail and tail[0] != separator)
    ):
        return None
    if standin is None:
        return head + tail[1:] if tail else head[:-1]
    return f"{head}{name}={standin}{tail}"


class Parameters:
    """Changes the parameters of some names in texts.

    :param parameters: of these names.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._parameters = tuple(parameters)
        names = [parameter.name for parameter in parameters]
        self.names = frozenset(names)
        self._name, self._other_names = (names[0], tuple(names[1:])) if names else ("%", ())

    def may_hold(self, text: str) -> bool:
        """Whether a text may hold one of the names, written plainly or percent-encoded."""
        others = self._other_names
        # Nearly always there are none, and beginning a loop costs more than all else here.
        return "%" in text or self._name in text or (bool(others) and any(other in text for other in others))

    def _has_pair(self, text: str) -> bool:
        """Whether one of the names may have a value in a text; a percent sign alone, as in paths, is none."""
        return ("=" in text or "%3" in text or "%25" in text) and self.may_hold(text)

    def in_query(self, query: str, change: Change) -> str:
        """A query with every value of these names changed."""
        text = "&" + query
        for parameter in self._parameters:

            def written(match: re.Match[str], parameter: Parameter = parameter) -> str:
                value = parameter.meant(match[2])
                changed = change(value)
                if changed == value:
                    return match[0]
                return f"&{match[1]}={changed}" if changed else ""

            text = parameter.pattern(text).sub(written, text)
        return text[1:]

    def in_url(self, url: str, change: Change) -> str:
        """A URL with the same done to its query and its fragment."""
        rest, hash_mark, fragment = url.partition("#") if "#" in url else (url, "", "")
        path, mark, query = rest.partition("?")
        if mark:
            query = self.in_query(query, change)
            # A mark that introduced nothing but the credential goes with it.
            mark = mark if query or rest.endswith("?") else ""
        if hash_mark:
            fragment = self.in_query(fragment, change)
            hash_mark = hash_mark if fragment or url.endswith("#") else ""
        return path + mark + query + hash_mark + fragment

    def _search(self, query: str, change: Change) -> Search:
        known = set()
        special: dict[str, str] = {}
        for parameter in self._parameters:
            for pair, name, value in parameter.pairs(query):
                known.add(value)
                if _SPECIAL.search(value) and len(special) < _SPECIAL_PAIRS:
                    special[f"{parameter.name}={value}"] = f"{parameter.name}={quote(value, safe='')}"
                    special[pair] = f"{name}={quote(value, safe='')}"
        return Search(self, frozenset(known) - {""}, change, special)


class Search:
    """One request's values of these names, searched for in texts that may hold URLs.

    :param known: the values that the query had: where a text may be no URL, only they are changed.
    :param special: pairs that mean another thing in a text, decoded and as the query had them, with
        how they must be written there.
    """

    def __init__(
        self, parameters: Parameters, known: frozenset[str], change: Change, special: Mapping[str, str]
    ) -> None:
        self._parameters = parameters
        self._change = change
        self._known = known
        self._special = special

    def _change_known(self, value: str) -> str | None:
        known = value in self._known or _GOES_ON.split(value, 1)[0].rstrip(_CLOSING) in self._known
        return self._change(value) if known else value

    def in_text(self, text: str) -> str:
        """A text of any kind: URLs, queries, or neither."""
        return _WORD.sub(self._in_word, self._encoded_again(text))

    def in_bytes(self, text: bytes) -> bytes:
        """The same of bytes."""
        decoded = text.decode("latin-1")
        return self.in_text(decoded).encode("latin-1") if self._parameters.may_hold(decoded) else text

    def in_object(self, value: object, environ: object) -> object | None:
        """What somebody has built of a request: only known values are changed, as it may hold more than that.

        :returns: the object; None where it must be made anew.
        """
        known = Search(self._parameters, self._known, self._change_known, self._special)
        nested = Nested(self._parameters.names, known.in_text, self._change_known, environ)
        return nested.changed(value)

    def _encoded_again(self, text: str) -> str:
        """A text that somebody has decoded, with the special pairs written as they must be in a query."""
        for pair, written in self._special.items():
            for before in "?&#":
                text = text.replace(before + pair, before + written)
            if text.startswith(pair):
                text = written + text[len(pair) :]
        return text

    def _in_word(self, match: re.Match[str]) -> str:
        word = match[0]
        if not self._parameters._has_pair(word):
            return word
        end = _TAIL.search(word)
        length = len(word) if end is None else end.start()
        if _LISTED.match(word):
            # No key has one of these.
            parts = _SEPARATOR.split(word[:length])
            return "".join(self._in_one(part) if part not in ",;" else part for part in parts) + word[length:]
        urls = [self._in_one(url) for url in _NEXT_URL.split(word[:length])]
        return ",".join(urls) + word[length:]

    def _in_one(self, word: str) -> str:
        if "?" in word or "#" in word:
            return self._in_url(word, self._change, DEPTH)
        # What is encoded in a path stays a part of it; in a parameter it does not.
        is_url = word.startswith("/") or "://" in word
        return word if is_url else self._in_value(word, DEPTH)

    def _in_url(self, url: str, change: Change, depth: int) -> str:
        """A URL with its own parameters changed, and the URLs that are values of others."""
        changed = self._parameters.in_url(url, change)
        if depth < 0:
            return changed
        rest, hash_mark, fragment = changed.partition("#")
        path, mark, query = rest.partition("?")
        query, fragment = self.in_parameters(query, depth), self.in_parameters(fragment, depth)
        return path + mark + query + hash_mark + fragment

    def in_parameters(self, query: str, depth: int) -> str:
        """A query with URLs changed that are values of its other parameters."""
        if not self._parameters.may_hold(query):
            return query
        pairs = query.split("&")
        for index, pair in enumerate(pairs):
            name, sign, value = pair.partition("=")
            if sign and self._parameters._has_pair(value):
                pairs[index] = name + sign + self._in_value(value, depth)
        return "&".join(pairs)

    def _in_value(self, text: str, depth: int) -> str:
        """A text that may be a URL, a query, or either of them percent-encoded once more."""
        if "?" in text or "#" in text:
            return self._in_url(text, self._change_known, depth - 1)
        if _BARE.match(text):
            changed = self._parameters.in_query(text, self._change_known)
            return self.in_parameters(changed, depth - 1) if depth else changed
        if "%" not in text or not depth or not self._parameters._has_pair(text):
            return text
        decoded = unquote(text, "latin-1")
        if decoded == text:
            return text
        changed = self._in_value(self._encoded_again(decoded), depth - 1)
        if changed == decoded:
            return text
        # Written as it was: what stood there unencoded stays so.
        return quote(changed, safe="".join(set(text) - {"%"}), encoding="latin-1")
