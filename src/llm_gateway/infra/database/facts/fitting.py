"""Makes what lines of the journal say fit for the database: clients chose some of it, providers the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar, cast, get_args

import msgspec

# Longest text that is stored; an index entry of PostgreSQL holds some 2,700 bytes.
TEXT_LIMIT: Final = 256
# Longest duration that is stored and shown.
LONGEST_MS: Final = 1e13
_INT_LIMIT: Final = 2**63 - 1
_NUL: Final = b"\\u0000"
_ESCAPE: Final = b"\\"

FitText = Annotated[str, msgspec.Meta(max_length=TEXT_LIMIT)]
FitInt = Annotated[int, msgspec.Meta(ge=-_INT_LIMIT, le=_INT_LIMIT)]

# What a line that the journal did not write may raise when it is decoded.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Fact = TypeVar("Fact", bound=msgspec.Struct)
_encode = msgspec.json.Encoder().encode


class Line(msgspec.Struct, Generic[Fact], frozen=True, gc=False):
    """A fact, and the line of JSON that says the same."""

    fact: Fact
    json: bytes


class LineReader(Generic[Fact]):
    """Reads facts of one kind. Texts are cut, and whole numbers clipped to what 64 bits hold."""

    # By field, types that only values which fit have; for fields that are neither texts nor whole numbers, and that
    # a subclass checks in `is_fit`.
    fit_types: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, kind: type[Fact]) -> None:
        self._decode: Callable[[bytes], Fact] = msgspec.json.Decoder(kind).decode
        self._decode_fit: Callable[[bytes], Fact] = msgspec.json.Decoder(
            _fit_kind(kind, self.fit_types)
        ).decode
        self._text_names = _names(kind, str)
        self._int_names = _names(kind, int)
        self._texts: Callable[[Fact], tuple[str | None, ...]] = attrgetter(*self._text_names)
        self._ints: Callable[[Fact], tuple[int | None, ...]] = attrgetter(*self._int_names)

    def read(self, lines: Sequence[bytes]) -> list[Line[Fact]]:
        """Return what the lines say; raise one of UNREADABLE.

        The facts are of the kind, or of a subclass of it, and so not equal to what was written.
        """
        # Hardly any line has a character that is escaped, and one byte is found much faster than six.
        if _ESCAPE not in b"".join(lines):
            try:
                return list(map(Line, map(self._decode_fit, lines), lines))
            except msgspec.ValidationError:
                # A line holds what does not fit: it is found, and made to fit, below.
                pass
        read = []
        for line in lines:
            # PostgreSQL's text holds no NUL.
            clean = line.replace(_NUL, b"\\ufffd") if _NUL in line else line
            try:
                fact = self._decode_fit(clean)
            except msgspec.ValidationError:
                fact = self._decode(clean)
                if not self.is_fit(fact):
                    fact = msgspec.structs.replace(fact, **self.fitted(fact))
                    clean = _encode(fact)
            read.append(Line(fact, clean))
        return read

    def is_fit(self, fact: Fact) -> bool:
        """Return whether the fact can be stored as it is."""
        if max(map(len, filter(None, self._texts(fact))), default=0) > TEXT_LIMIT:
            return False
        numbers = [*filter(None, self._ints(fact)), 0]
        return max(numbers) <= _INT_LIMIT and min(numbers) >= -_INT_LIMIT

    def fitted(self, fact: Fact) -> dict[str, Any]:
        """Return the fields of a fact that is not fit as they can be stored."""
        changed: dict[str, Any] = {}
        for name in self._text_names:
            text = getattr(fact, name)
            changed[name] = None if text is None else text[:TEXT_LIMIT]
        for name in self._int_names:
            number = getattr(fact, name)
            changed[name] = None if number is None else max(-_INT_LIMIT, min(number, _INT_LIMIT))
        return changed


def _names(kind: type[msgspec.Struct], wanted: type) -> tuple[str, ...]:
    fields = msgspec.structs.fields(kind)
    return tuple(field.name for field in fields if wanted in (field.type, *get_args(field.type)))


def _fit_kind(kind: type[Fact], fit_types: Mapping[str, Any]) -> type[Fact]:
    """Return a subclass that takes only values that fit: msgspec checks them in a fifth of the time of `is_fit`."""
    known: dict[Any, Any] = {str: FitText, str | None: FitText | None, int: FitInt, int | None: FitInt | None}
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        fit = fit_types.get(field.name) or known.get(field.type, field.type)
        fields.append((field.name, fit) if field.required else (field.name, fit, field.default))
    return cast("type[Fact]", msgspec.defstruct(kind.__name__, fields, bases=(kind,), kw_only=True))
