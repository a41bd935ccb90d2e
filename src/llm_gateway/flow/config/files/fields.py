"""Reads the fields of a mapping by the types that they must have, and collects every problem with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Final, TypeVar

from msgspec import UNSET, UnsetType

from llm_gateway.flow.config.files.nodes import InvalidConfigFile, MappingNode, Node, ScalarNode, SequenceNode

Value = TypeVar("Value")

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]{1,3})?")
# As the catalog bounds prices; whole numbers are columns of 32 bits.
_LARGEST: Final = Decimal(10) ** 40
_MOST_DECIMALS: Final = 40
_MOST_CHARACTERS: Final = 100
_LARGEST_WHOLE: Final = 2**31 - 1
_FLAGS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_PROBLEMS: Final = 20


class Problems:
    """Everything that is wrong with a file, a sentence each."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, line: int, path: str, sentence: str) -> None:
        """Note that the field at `path` "must be ...", or what else is wrong with it."""
        self.sentences.append(f"line {line}: {path}{' ' if path else ''}{sentence}")

    def check(self) -> None:
        """Raise InvalidConfigFile if there are any."""
        if not self.sentences:
            return
        shown = self.sentences[:_MOST_PROBLEMS]
        more = len(self.sentences) - len(shown)
        raise InvalidConfigFile("\n".join([*shown, *([f"and {more} more"] if more else [])]))


class Fields:
    """The fields of one mapping, each of which is read once. Null is a value only where it may be given."""

    def __init__(self, node: Node, path: str, problems: Problems) -> None:
        """Read `node`, which stands at `path` in the file: "models.gpt-4"."""
        self.path = path
        self.problems = problems
        self.line = node.line
        self._read: set[str] = set()
        if isinstance(node, MappingNode):
            self.node = node
            return
        if not (isinstance(node, ScalarNode) and node.text is None):
            problems.add(node.line, path, "must be fields and their values")
        self.node = MappingNode({}, {}, node.line, 1)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.node.entries)

    def line_of(self, name: str) -> int:
        """Return the line of a field, or of the mapping if it has no such field."""
        return self.node.lines.get(name, self.line)

    def path_of(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def complain(self, name: str, sentence: str) -> None:
        """Note a problem with a field."""
        self.problems.add(self.line_of(name), self.path_of(name), sentence)

    def get(self, name: str) -> Node | None:
        """Return a field as it is; None if it is absent or null."""
        self._read.add(name)
        node = self.node.entries.get(name)
        return None if isinstance(node, ScalarNode) and node.text is None else node

    def is_null(self, name: str) -> bool:
        """Tell whether the field is there, and null."""
        self._read.add(name)
        node = self.node.entries.get(name)
        return isinstance(node, ScalarNode) and node.text is None

    def text(self, name: str) -> str | UnsetType:
        return self._scalar(name, "must be text", read_text)

    def number(self, name: str) -> Decimal | UnsetType:
        return self._scalar(name, "must be a number", read_number)

    def real(self, name: str) -> float | UnsetType:
        return self._scalar(name, "must be a number", read_real)

    def whole(self, name: str) -> int | UnsetType:
        return self._scalar(name, "must be a whole number", read_whole)

    def flag(self, name: str) -> bool | UnsetType:
        return self._scalar(name, "must be true or false", read_flag)

    def time(self, name: str) -> int | UnsetType:
        """Return a time as Unix microseconds."""
        return self._scalar(name, "must be a time such as 2026-01-31T00:00:00Z", read_time)

    def texts(self, name: str) -> tuple[str, ...] | UnsetType:
        node = self.get(name)
        if node is None:
            return UNSET
        if isinstance(node, SequenceNode):
            found = [text for item in node.items if (text := _of(item, read_text)) is not None]
            if len(found) == len(node.items):
                return tuple(found)
        self.complain(name, "must be a list of names")
        return UNSET

    def map(
        self, name: str, read: Callable[[str], Value | None], expected: str
    ) -> dict[str, Value] | UnsetType:
        """Return names and values; `expected` is what the field "must be" otherwise."""
        node = self.get(name)
        if node is None:
            return UNSET
        if not isinstance(node, MappingNode):
            self.complain(name, expected)
            return UNSET
        found: dict[str, Value] = {}
        for key, item in node.entries.items():
            value = _of(item, read)
            if value is None:
                self.problems.add(node.lines[key], f"{self.path_of(name)}.{key}", expected)
            else:
                found[key] = value
        return found

    def inner(self, name: str) -> Fields | None:
        """Return the fields of a field; None if it is absent or null."""
        node = self.get(name)
        return None if node is None else Fields(node, self.path_of(name), self.problems)

    def items(self, name: str) -> list[Fields]:
        """Return a list of mappings, as one Fields each."""
        node = self.get(name)
        if node is None:
            return []
        if not isinstance(node, SequenceNode):
            self.complain(name, "must be a list")
            return []
        return [
            Fields(item, f"{self.path_of(name)}[{number}]", self.problems)
            for number, item in enumerate(node.items)
        ]

    def unread(self) -> list[str]:
        """Return the names of fields that nothing has asked for."""
        return [name for name in self.node.entries if name not in self._read]

    def finish(self, known: Iterable[str] = ()) -> None:
        """Note a problem for each field that nothing has asked for; `known` are fields that were not asked for."""
        valid = sorted({*self._read, *known})
        for name in self.unread():
            near = get_close_matches(name, valid, n=2, cutoff=0.6)
            meant = f"did you mean {' or '.join(near)}?" if near else f"known fields are {', '.join(valid)}"
            self.complain(name[:100], f"is unknown; {meant}")

    def _scalar(self, name: str, sentence: str, read: Callable[[str], Value | None]) -> Value | UnsetType:
        node = self.get(name)
        if node is None:
            return UNSET
        value = _of(node, read)
        if value is None:
            self.complain(name, sentence)
            return UNSET
        return value


def _of(node: Node, read: Callable[[str], Value | None]) -> Value | None:
    return read(node.text) if isinstance(node, ScalarNode) and node.text is not None else None


def read_text(text: str) -> str | None:
    """Return text as it is; None for blanks only, or with control characters."""
    return text if text.strip() and text.isprintable() else None


def read_number(text: str) -> Decimal | None:
    """Return an exact number; None for what is none, and for NaN, infinity and sizes that nothing has."""
    stripped = text.strip()
    if len(stripped) > _MOST_CHARACTERS or not _NUMBER.fullmatch(stripped):
        return None
    number = Decimal(stripped.replace("_", ""))
    exponent = number.as_tuple().exponent
    is_sane = abs(number) < _LARGEST and isinstance(exponent, int) and exponent >= -_MOST_DECIMALS
    return number if is_sane else None


def read_real(text: str) -> float | None:
    """Return a number that need not be exact; None for what is none, and for NaN and infinity."""
    stripped = text.strip()
    if len(stripped) > _MOST_CHARACTERS or not _NUMBER.fullmatch(stripped):
        return None
    number = float(stripped)
    return number if math.isfinite(number) else None


def read_whole(text: str) -> int | None:
    """Return a whole number, None for others."""
    number = read_number(text)
    if number is None or abs(number) > _LARGEST_WHOLE or number != number.to_integral_value():
        return None
    return int(number)


def read_flag(text: str) -> bool | None:
    """Return YAML's booleans in any case, None for other text."""
    return _FLAGS.get(text.strip().lower())


def read_time(text: str) -> int | None:
    """Return a time in ISO 8601, in UTC if it does not say, as Unix microseconds; None for other text."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def lines_of(fields: Fields, names: Mapping[str, str]) -> dict[str, str]:
    """Return where fields stand, by the names that the catalog has for them: {"api_base": "line 3: ..."}."""
    return {
        field: f"line {fields.line_of(name)}: {fields.path_of(name)}"
        for field, name in names.items()
        if name in fields.node.entries
    }
