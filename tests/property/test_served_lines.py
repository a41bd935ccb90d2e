"""Lines of served requests are the same in both ways, whatever they are joined from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.ledger.served_lines import python_begin_line, python_end_line, python_log_line
from tests.fakes.compiled_parts import need_compiled

_EDGES = [10**power + rest for power in range(19) for rest in (-1, 0, 1)]
_NUMBERS = st.integers(0, 3000) | st.integers(0, 2**63 - 1) | st.sampled_from(_EDGES)
_MAYBE = st.none() | _NUMBERS
_TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=40)
_NAMES = st.none() | _TEXTS
_BREAKDOWNS = st.none() | st.dictionaries(
    st.sampled_from(["input_tokens", "output_tokens"]) | _TEXTS, st.tuples(_NUMBERS, _NUMBERS), max_size=4
)
_SOURCES = st.sampled_from(["provider", "counted/provider"])
# What the compiled way leaves to Python, or nearly does: escapes, other alphabets, lone surrogates, texts that are
# too long for a string or for a line, other numbers.
_UNUSUAL_NUMBERS = st.integers() | st.sampled_from([-1, 2**63 - 1, 2**63, 2**64, 10**19, -(2**63), True])
_UNUSUAL_TEXTS = (
    st.text(st.characters(max_codepoint=130), max_size=20)
    | st.text(st.characters(codec=None), max_size=20)
    | st.integers(500, 530).map(lambda length: "v" * length)
    | st.integers(2000, 9000).map(lambda length: "x" * length)
)
_UNUSUAL_BREAKDOWNS = st.dictionaries(
    _UNUSUAL_TEXTS, st.tuples(_UNUSUAL_NUMBERS | st.floats(-1e9, 1e9), _UNUSUAL_NUMBERS), max_size=3
)
_UNUSUAL: Sequence[tuple[Any, st.SearchStrategy[Any]]] = (
    (_NUMBERS, _UNUSUAL_NUMBERS),
    (_MAYBE, _UNUSUAL_NUMBERS),
    (_TEXTS, _UNUSUAL_TEXTS),
    (_NAMES, _UNUSUAL_TEXTS),
    (_SOURCES, _UNUSUAL_TEXTS),
    (_BREAKDOWNS, _UNUSUAL_BREAKDOWNS),
)


@st.composite
def _values(draw: st.DrawFn, *usual: st.SearchStrategy[Any]) -> list[Any]:
    """Draw arguments of which few are unusual, if any."""
    values = [draw(one) for one in usual]
    for place in draw(st.lists(st.integers(0, len(usual) - 1), max_size=2)):
        for kind, unusual in _UNUSUAL:
            if kind is usual[place]:
                values[place] = draw(unusual)
    return values


def _joined(join: Callable[..., bytes | None], values: list[Any]) -> bytes | str | None:
    """Return the line, or what it fails with."""
    try:
        return join(*values)
    except (UnicodeEncodeError, OverflowError, ValueError) as error:
        return type(error).__name__


def _check(name: str, in_python: Callable[..., bytes | None], values: list[Any]) -> None:
    need_compiled()
    compiled = getattr(import_module("llm_gateway.core.ledger._served_lines"), name)
    assert _joined(compiled, values) == _joined(in_python, values)


@given(_values(_TEXTS, _NUMBERS, _TEXTS, _TEXTS, _NUMBERS, _MAYBE))
def test_attempts_begin_with_the_same_line(values: list[Any]) -> None:
    _check("begin_line", python_begin_line, values)


@given(
    _values(
        _TEXTS, _NUMBERS, _TEXTS, _TEXTS, *[_NUMBERS] * 6, _SOURCES, _TEXTS, _MAYBE, *[_NAMES] * 3, *[_MAYBE] * 3,
        _BREAKDOWNS, _NUMBERS, _NUMBERS, _MAYBE, _NUMBERS, _NUMBERS,
    )
)  # fmt: skip
def test_requests_end_with_the_same_line(values: list[Any]) -> None:
    _check("end_line", python_end_line, values)


@given(
    _values(_TEXTS, st.integers(0, 999), *[_TEXTS] * 3, *[_NUMBERS] * 2, _MAYBE, _NUMBERS, _MAYBE, *[_NUMBERS] * 2)
)  # fmt: skip
def test_the_log_has_the_same_line(values: list[Any]) -> None:
    _check("log_line", python_log_line, values)
