"""Reads JSON that is not quite what its API documents: skips fields of a wrong type, replaces broken characters."""

from __future__ import annotations

import codecs
import re
import types
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T", bound=msgspec.Struct)
_UNIONS = (typing.Union, types.UnionType)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
# A pair of surrogates, a surrogate without its partner, or any other escape.
_ESCAPE = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def lenient_decoder(wanted: type[_T]) -> Callable[[bytes], _T]:
    """Return a function that decodes a struct, and leaves a field that has a wrong type at its default.

    The function raises msgspec.DecodeError, UnicodeDecodeError or RecursionError if the bytes are not a JSON object,
    or if a field without a default is missing or has a wrong type.
    """
    decode = msgspec.json.Decoder(wanted).decode

    def decode_leniently(data: bytes) -> _T:
        try:
            return decode(data)
        except _UNREADABLE:
            return _struct(_repaired(data), wanted)

    return decode_leniently


def _struct(data: bytes | msgspec.Raw, wanted: type[_T]) -> _T:
    given = _decode_fields(data)
    values: dict[str, Any] = {}
    for name, encoded_name, type_ in _fields(wanted):
        raw = given.get(encoded_name)
        if raw is None:
            continue
        try:
            values[name] = _value(raw, type_)
        except _UNREADABLE:
            continue
    try:
        return wanted(**values)
    except TypeError:
        message = f"{wanted.__name__} lacks a field"
        raise msgspec.ValidationError(message) from None


@lru_cache(maxsize=64)
def _fields(wanted: type[msgspec.Struct]) -> tuple[tuple[str, str, Any], ...]:
    return tuple((field.name, field.encode_name, field.type) for field in msgspec.structs.fields(wanted))


def _value(raw: msgspec.Raw, wanted: Any) -> Any:  # noqa: ANN401 - of the type that `wanted` names
    try:
        return msgspec.json.decode(raw, type=wanted)
    except _UNREADABLE:
        is_union = typing.get_origin(wanted) in _UNIONS
        for one in typing.get_args(wanted) if is_union else (wanted,):
            if typing.get_origin(one) is list:
                return _items(raw, typing.get_args(one)[0])
            if isinstance(one, type) and issubclass(one, msgspec.Struct):
                return _struct(raw, one)
        raise


def _items(raw: msgspec.Raw, wanted: Any) -> list[Any]:  # noqa: ANN401 - a type of any form
    values = []
    for item in _decode_items(raw):
        try:
            values.append(_value(item, wanted))
        except _UNREADABLE:
            continue
    return values


def _repaired(data: bytes) -> bytes:
    """Drop a byte order mark; replace bytes that are not UTF-8, and surrogates without a partner, by U+FFFD."""
    text = data.removeprefix(codecs.BOM_UTF8).decode(errors="replace").encode()
    return _ESCAPE.sub(_replace_lone, text) if b"\\u" in text else text


def _replace_lone(found: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if found[2] is not None else found[0]
