"""Reads YAML into nodes that know their lines, within bounds that no file of a configuration reaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

# Bytes, and nodes with those that aliases repeat.
MOST_BYTES: Final = 1_048_576
MOST_NODES: Final = 50_000
MOST_DEPTH: Final = 30

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_CORE: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(
    {"!", *(_CORE + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp"))}
)
_MERGE: Final = "<<"


class InvalidConfigFile(ValueError):
    """The file is no configuration that can be read. The message says where and what is wrong, and holds no value."""


class ScalarNode(msgspec.Struct, frozen=True):
    """A value as it is written, None for null. What it means depends on the field that it is for."""

    text: str | None
    line: int
    size: int = 1


class SequenceNode(msgspec.Struct, frozen=True):
    """A list."""

    items: list[Node]
    line: int
    size: int


class MappingNode(msgspec.Struct, frozen=True):
    """Names and values, in the order of the file; `lines` has the line of each name."""

    entries: dict[str, Node]
    lines: dict[str, int]
    line: int
    size: int


Node = ScalarNode | SequenceNode | MappingNode


def read_yaml(data: bytes) -> Node:
    """Return the root of the one document in `data`; raise InvalidConfigFile."""
    # Imported on demand: only a first start and two commands read YAML.
    import yaml  # noqa: PLC0415

    if len(data) > MOST_BYTES:
        raise InvalidConfigFile(f"the file is larger than {MOST_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidConfigFile(f"the file is not UTF-8 text (byte {error.start})") from None
    try:
        root = _Composer(yaml.parse(text, Loader=yaml.SafeLoader), yaml).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise InvalidConfigFile(f"{where}this is not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError:
        raise InvalidConfigFile("the file holds control characters, which YAML does not allow") from None
    if root is None:
        raise InvalidConfigFile("the file is empty")
    return root


class _Composer:
    """Builds nodes from the events of a parser, which does not recurse."""

    def __init__(self, events: Iterator[Any], yaml: Any) -> None:  # noqa: ANN401 - the module, imported on demand
        self._events = events
        self._yaml = yaml
        self._anchors: dict[str, Node] = {}
        self._count = 0

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, self._yaml.NodeEvent):
                if root is not None:
                    raise InvalidConfigFile(
                        f"line {_line(event)}: the file holds a second document; keep one"
                    )
                root = self._node(event, 0)
        return None if isinstance(root, ScalarNode) and root.text is None else root

    def _node(self, event: Any, depth: int) -> Node:  # noqa: ANN401 - PyYAML has no types
        line = _line(event)
        if isinstance(event, self._yaml.AliasEvent):
            known = self._anchors.get(event.anchor)
            if known is None:
                raise InvalidConfigFile(f"line {line}: the alias *{event.anchor} is not defined above it")
            self._add(known.size, line)
            return known
        if event.tag is not None and event.tag not in _TAGS:
            raise InvalidConfigFile(f"line {line}: the tag {event.tag[:100]!r} is not allowed")
        if depth > MOST_DEPTH:
            raise InvalidConfigFile(f"line {line}: values are nested more than {MOST_DEPTH} levels deep")
        self._add(1, line)
        node: Node
        if isinstance(event, self._yaml.ScalarEvent):
            node = ScalarNode(_text(event), line)
        elif isinstance(event, self._yaml.SequenceStartEvent):
            node = self._sequence(line, depth)
        else:
            node = self._mapping(line, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, line: int, depth: int) -> SequenceNode:
        items: list[Node] = []
        for event in self._events:
            if isinstance(event, self._yaml.SequenceEndEvent):
                break
            items.append(self._node(event, depth + 1))
        return SequenceNode(items, line, 1 + sum(item.size for item in items))

    def _mapping(self, line: int, depth: int) -> MappingNode:
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        merged: list[MappingNode] = []
        size = 1
        for event in self._events:
            if isinstance(event, self._yaml.MappingEndEvent):
                break
            name = self._name(event)
            value = self._node(next(self._events), depth + 1)
            size += 1 + value.size
            if name == _MERGE and event.style is None:
                merged += _merged(value, _line(event))
                continue
            if name in entries:
                raise InvalidConfigFile(
                    f"line {_line(event)}: {_shown(name)} is there twice, first in line {lines[name]}"
                )
            entries[name], lines[name] = value, _line(event)
        # What stands here wins over what is merged in, and earlier over later.
        for other in merged:
            for name, value in other.entries.items():
                if name not in entries:
                    entries[name], lines[name] = value, other.lines[name]
        return MappingNode(entries, lines, line, size)

    def _name(self, event: Any) -> str:  # noqa: ANN401
        if not isinstance(event, self._yaml.ScalarEvent):
            raise InvalidConfigFile(f"line {_line(event)}: a name must be plain text")
        node = self._node(event, 0)
        return (node.text if isinstance(node, ScalarNode) else None) or ""

    def _add(self, nodes: int, line: int) -> None:
        self._count += nodes
        if self._count > MOST_NODES:
            raise InvalidConfigFile(f"line {line}: the file holds more than {MOST_NODES:,} values")


def _merged(value: Node, line: int) -> list[MappingNode]:
    found = value.items if isinstance(value, SequenceNode) else [value]
    if not all(isinstance(one, MappingNode) for one in found):
        raise InvalidConfigFile(f"line {line}: << must be followed by fields, or by a list of such")
    return [one for one in found if isinstance(one, MappingNode)]


def _text(event: Any) -> str | None:  # noqa: ANN401
    text: str = event.value
    is_null = event.tag == _CORE + "null" or (event.tag is None and event.style is None and text in _NULLS)
    return None if is_null else text


def _line(event: Any) -> int:  # noqa: ANN401
    return int(event.start_mark.line) + 1


def _shown(name: str) -> str:
    return repr(name[:100])
