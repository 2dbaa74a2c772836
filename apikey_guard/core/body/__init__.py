"""A credential in a request body: found, and cut out without touching any other byte.

Three media types are searched: forms (WHATWG URL, ``application/x-www-form-urlencoded``),
``multipart/form-data`` (RFC 7578, RFC 2046) and JSON (RFC 8259), each as Werkzeug, Django and REST
framework read it. A body that none of them reads holds no credential and is left alone; one that
they could read in two ways is refused where the field might be in it.

Everything here takes time linear in the body, whatever a caller sends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from apikey_guard.core.body.field import NOTHING, BodyField, Item, bounded, collect, text_of
from apikey_guard.core.body.media import FORM, JSON, MULTIPART, Kind, Media, media_of
from apikey_guard.core.body.members import json_items, plain_member
from apikey_guard.core.body.parts import part_items
from apikey_guard.errors import BadRequest

__all__ = ["FORM", "JSON", "MAX_FIELDS", "MULTIPART", "NOTHING", "BodyField", "cut", "find", "searchable"]

# What Werkzeug (max_form_parts) and Django (DATA_UPLOAD_MAX_NUMBER_FIELDS) allow a form to hold:
# a body beyond it would not reach the application's code either.
MAX_FIELDS: Final = 1000


def searchable(content_type: str | None) -> bool:
    """Whether a body of this media type is looked at at all.

    :param content_type: the value of ``Content-Type``; case and parameters do not matter.
    """
    return media_of(content_type).kind is not None


def find(content_type: str | None, body: bytes, name: str, *, most: int | None = MAX_FIELDS) -> BodyField:
    """Every copy of the field ``name`` in ``body``.

    Names are compared exactly and by case: ``k[]``, ``k[0]`` and ``K`` are not ``k``. In a form,
    names and values are percent-decoded once, ``+`` is a space, and ``;`` separates nothing. In
    multipart, file parts are not looked at. In JSON, only members of the top-level object are; a
    number, ``true``, ``false`` or ``null`` is no credential.

    :param content_type: the value of ``Content-Type``, or None; no value of it is an error.
    :param body: the whole body.
    :param name: the field's name.
    :param most: how many fields, parts or top-level members are searched; None is all.
    :raises BodyTooLarge: there are more.
    :raises BadRequest: one of the application's parsers might find a field that another one, or
        this search, does not find.
    """
    media = media_of(content_type)
    if media.kind is None or not body:
        return NOTHING
    if media.doubtful:
        raise BadRequest("Content-Type could be read in two ways")
    if media.kind == "json" and (most is None or body.count(b",") < most):
        plain = plain_member(body, name)
        if plain is not None:
            return plain
    return collect(_READERS[media.kind](media, body, name, most))


def cut(content_type: str | None, body: bytes, name: str) -> bytes:
    """``body`` without any copy of the field ``name``, all other bytes as they were.

    A form field goes with one adjoining ``&``, a JSON member with one adjoining comma, a part
    with its boundary line. A body that has no such field is returned as the same object.
    Parameters and errors are those of :func:`find`.
    """
    return find(content_type, body, name).without(body)


def _form_items(_media: Media, body: bytes, name: str, most: int | None) -> Sequence[Item]:
    bounded(body.count(b"&") + 1, most, "fields")
    wanted = name.encode()
    items = []
    start = 0
    for pair in body.split(b"&"):
        end = start + len(pair)
        raw_name, _, raw_value = pair.partition(b"=")
        if _form_decoded(raw_name) == wanted:
            items.append(Item(start, end, copy=True, value=text_of(_form_decoded(raw_value))))
        else:
            items.append(Item(start, end, copy=False))
        start = end + 1
    return items


def _form_decoded(raw: bytes) -> bytes:
    return unquote_to_bytes(raw.replace(b"+", b" "))


_Reader = Callable[[Media, bytes, str, int | None], Sequence[Item]]
_READERS: Final[Mapping[Kind, _Reader]] = MappingProxyType(
    {"form": _form_items, "multipart": part_items, "json": json_items}
)
