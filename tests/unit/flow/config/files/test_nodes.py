"""YAML is read within bounds, every fault has its line, and what a value means is not decided here."""

from __future__ import annotations

import pytest

from llm_gateway.flow.config.files import nodes
from llm_gateway.flow.config.files.nodes import (
    InvalidConfigFile,
    MappingNode,
    ScalarNode,
    SequenceNode,
    read_yaml,
)


def plain(node: object) -> object:
    if isinstance(node, ScalarNode):
        return node.text
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    assert isinstance(node, MappingNode)
    return {name: plain(value) for name, value in node.entries.items()}


def test_values_stay_as_they_are_written() -> None:
    text = 'a: 1e-06\nb: "null"\nc: null\nd: ~\ne:\nf: 2024-10-21\ng: off\n4.1: [1, x, {y: 2}]\n'
    assert plain(read_yaml(text.encode())) == {
        "a": "1e-06",
        "b": "null",
        "c": None,
        "d": None,
        "e": None,
        "f": "2024-10-21",
        "g": "off",
        "4.1": ["1", "x", {"y": "2"}],
    }


def test_lines_are_those_of_names() -> None:
    root = read_yaml(b"# a comment\na:\n  b: 1\n\n  c: 2\n")
    assert isinstance(root, MappingNode)
    inner = root.entries["a"]
    assert isinstance(inner, MappingNode)
    assert (root.lines, inner.lines) == ({"a": 2}, {"b": 3, "c": 5})


def test_aliases_and_merges_are_expanded() -> None:
    text = b"base: &base {x: 1, y: 2}\nother:\n  <<: *base\n  y: 3\nlist: [*base]\nmany:\n  <<: [{x: 9}, *base]\n"
    assert plain(read_yaml(text)) == {
        "base": {"x": "1", "y": "2"},
        "other": {"y": "3", "x": "1"},
        "list": [{"x": "1", "y": "2"}],
        "many": {"x": "9", "y": "2"},
    }


def test_a_byte_order_mark_is_no_part_of_the_file() -> None:
    assert plain(read_yaml("\ufeffa: ä\n".encode())) == {"a": "ä"}


BOMB = b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)
)
BAD = {
    "empty": (b"", "the file is empty"),
    "comments only": (b"# nothing\n", "the file is empty"),
    "null": (b"null\n", "the file is empty"),
    "not UTF-8": (b"a: \xff\n", "not UTF-8 text (byte 3)"),
    "control character": (b"a: \x00b\n", "control characters"),
    "tab": (b"a:\n\tb: 1\n", "line 2: this is not valid YAML"),
    "open bracket": (b"a: [1, 2\n", "this is not valid YAML"),
    "name twice": (b"a: 1\nb: 2\na: 3\n", "line 3: 'a' is there twice, first in line 1"),
    "second document": (b"a: 1\n---\nb: 2\n", "line 3: the file holds a second document"),
    "python object": (b"a: !!python/object/apply:os.system [ls]\n", "line 1: the tag"),
    "own tag": (b"a:\n  b: !secret x\n", "line 2: the tag '!secret' is not allowed"),
    "unknown alias": (b"a: *b\n", "line 1: the alias *b is not defined above it"),
    "alias of itself": (b"a: &a [*a]\n", "line 1: the alias *a is not defined above it"),
    "list as a name": (b"? [a, b]\n: 1\n", "a name must be plain text"),
    "merge of text": (b"a:\n  <<: text\n", "line 2: << must be followed by fields"),
    "bomb": (BOMB, f"more than {nodes.MOST_NODES:,} values"),
    "deep": (b"[" * 100_000, "nested more than"),
    "deep mappings": (b"".join(b" " * n + b"a:\n" for n in range(200)), "nested more than"),
    "long": (b"a: " + b"x" * nodes.MOST_BYTES, f"larger than {nodes.MOST_BYTES:,} bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_its_line(case: str) -> None:
    data, message = BAD[case]
    with pytest.raises(InvalidConfigFile) as raised:
        read_yaml(data)
    assert message in str(raised.value)
