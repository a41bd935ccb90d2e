"""What a setting is, and how its text becomes a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

from msgspec import Meta, ValidationError, convert

from llm_gateway.core.secret import Secret

_T = TypeVar("_T")

# What editors and shells leave around a value; str.strip knows nothing of the last three, which nobody sees.
_AROUND: Final = " \t\r\n\v\f\u00a0\u200b\u2060\ufeff"
_QUOTES: Final = ("'", '"')
_FLAGS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is known of a setting beside its name, type and default."""

    description: str
    # The bounds of a number: gt, ge, le.
    bounds: Mapping[str, Any]
    # Returns the value of a clean text, or raises ValueError with the reason; None = as the type says.
    read: Callable[[str], object] | None
    # Whether messages and reprs may show the value.
    is_shown: bool


def setting(
    default: _T,
    *,
    description: str,
    gt: float | None = None,
    ge: float | None = None,
    le: float | None = None,
    read: Callable[[str], _T] | None = None,
    is_shown: bool = True,
) -> _T:
    """Return a field of a section; typed as its default, as dataclasses.field is."""
    bounds = {name: bound for name, bound in (("gt", gt), ("ge", ge), ("le", le)) if bound is not None}
    known = Setting(description=description, bounds=bounds, read=read, is_shown=is_shown)
    # A field carries what is known of it under the type of what that is.
    made: _T = field(default=default, repr=is_shown, metadata={Setting: known})
    return made


def clean(text: str) -> str:
    """Return the text without blanks, line ends, byte order mark and quotes around it; refuse what is no value."""
    text = text.strip(_AROUND)
    if len(text) > 1 and text[0] in _QUOTES and text.find(text[0], 1) == len(text) - 1:
        # A shell and .env files take quotes away, `docker run --env-file` and systemd's files do not always.
        text = text[1:-1].strip(_AROUND)
    if not text:
        raise ValueError("the value is blank; set one, or leave the variable unset")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text):
        raise ValueError("the value contains a line break or another control character")
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        raise ValueError("the value is not UTF-8 text")
    return text


def to_value(text: str, kind: object, bounds: Mapping[str, Any]) -> object:
    """Return the value of type `kind` that a clean text says; raise ValueError with what it must be."""
    kind = without_none(kind)
    if kind is str:
        return text
    if kind is Path:
        return Path(text)
    if kind is Secret:
        return Secret(text)
    value: object = text
    if kind is bool:
        value = _FLAGS.get(text.lower(), text)
    elif get_origin(kind) is Literal:
        value = text.lower()
    elif kind in {int, float}:
        value = _number(text, is_whole=kind is int)
    else:
        raise TypeError(f"a setting of the type {kind} needs a function that reads it")
    try:
        # Not strict for whole numbers, so that 8.0 is 8.
        return convert(value, Annotated[kind, Meta(**bounds)] if bounds else kind, strict=kind is not int)
    except ValidationError:
        raise ValueError(f"the value must be {_expected(kind, bounds)}") from None


def without_none(kind: object) -> object:
    """Return what a value of the type `X | None` is if there is one."""
    kinds = [each for each in get_args(kind) if each is not NoneType]
    return kinds[0] if len(kinds) == 1 and NoneType in get_args(kind) else kind


def split_at_commas(text: str) -> tuple[str, ...]:
    """Return the parts of a list, without blanks around them; empty ones are left out."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _number(text: str, *, is_whole: bool) -> object:
    """Return the number that a text is, or the text. Python takes more forms than msgspec: .5, +5 and 1_000."""
    for kind in (int, float) if is_whole else (float,):
        with suppress(ValueError):
            if text.isascii():
                return kind(text)
    return text


def _expected(kind: object, bounds: Mapping[str, Any]) -> str:
    if kind is bool:
        return "true or false"
    if get_origin(kind) is Literal:
        *others, last = map(str, get_args(kind))
        return f"{', '.join(others)} or {last}"
    number = "a whole number" if kind is int else "a number"
    match bounds:
        case {"ge": least, "le": most}:
            return f"{number} from {least:,} to {most:,}"
        case {"gt": below, "le": most}:
            return f"{number} above {below:,} and at most {most:,}"
        case {"ge": least}:
            return f"{number} of at least {least:,}"
        case {"gt": below}:
            return f"{number} above {below:,}"
    return number
