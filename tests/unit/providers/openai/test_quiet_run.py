"""Where a run of quiet events ends; both ways to find it agree on any bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.providers.openai.quiet_run import python_quiet_end, quiet_end
from tests.fakes.compiled_parts import need_compiled

TAIL = b'"finish_reason":null}]}\n\n'
QUIET = b"data: {" + TAIL
ODD = b'data: {"finish_reason":"stop"}]}\n\n'
# A tail does not begin with a line end, and ends with its only blank line.
TAILS = st.sampled_from([TAIL, b"a\n\n", b"ab\n\n", b"a\nb\n\n", b"aa\n\n", b"a\r\n\n", b""])
BITS = st.lists(
    st.sampled_from([QUIET, ODD, TAIL, b"\n", b"\n\n", b"\r", b"a", b"b", b"ab\n\n", b"a\n", b"\0"]),
    max_size=12,
)
Find = Callable[[bytes, int, bytes], int]


@pytest.fixture(params=["python", "compiled"])
def find(request: pytest.FixtureRequest) -> Find:
    if request.param == "python":
        return python_quiet_end
    need_compiled()
    return quiet_end


@pytest.mark.parametrize(
    ("block", "start", "end"),
    [
        (QUIET * 3, 0, 3 * len(QUIET)),
        (QUIET * 3 + ODD, 0, 3 * len(QUIET)),
        (QUIET + ODD + QUIET, 0, 0),
        (ODD + QUIET, 0, 0),
        (ODD + QUIET, len(ODD), len(ODD) + len(QUIET)),
        (ODD, 0, 0),
        (QUIET + b"\n", 0, len(QUIET)),
        # A tail that begins before the start is none.
        (QUIET, 8, 8),
        (QUIET, len(QUIET), len(QUIET)),
        (b"", 0, 0),
    ],
)
def test_a_run_ends_before_the_first_event_that_ends_otherwise(
    find: Find, block: bytes, start: int, end: int
) -> None:
    assert find(block, start, TAIL) == end


def test_without_a_tail_nothing_is_quiet(find: Find) -> None:
    assert find(QUIET, 3, b"") == 3


@given(bits=BITS, tail=TAILS, start=st.integers(0, 40))
@example(bits=[b"ab\n\n", b"\n", b"ab\n\n"], tail=b"ab\n\n", start=0)
@example(bits=[b"ab\n\n", b"\n\n", b"ab\n\n"], tail=b"ab\n\n", start=0)
def test_both_ways_return_the_same(bits: list[bytes], tail: bytes, start: int) -> None:
    need_compiled()
    block = b"".join(bits)
    start = min(start, len(block))
    assert quiet_end(block, start, tail) == python_quiet_end(block, start, tail)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ((), TypeError),
        ((QUIET, 0), TypeError),
        (("text", 0, TAIL), TypeError),
        ((QUIET, "0", TAIL), TypeError),
        ((QUIET, 0, "text"), TypeError),
        ((QUIET, -1, TAIL), ValueError),
        ((QUIET, len(QUIET) + 1, TAIL), ValueError),
        ((QUIET, 1 << 80, TAIL), OverflowError),
    ],
)
def test_other_arguments_are_an_error(wrong: tuple[object, ...], error: type[Exception]) -> None:
    need_compiled()
    with pytest.raises(error):
        quiet_end(*wrong)  # type: ignore[arg-type]
