"""Which format a file has is seen from its content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.wire.cost_files.bill import InvalidBill
from llm_gateway.wire.cost_files.reading import read_bill
from tests.unit.wire.cost_files.test_anthropic_costs import page as anthropic_page
from tests.unit.wire.cost_files.test_focus import CHARGE, written
from tests.unit.wire.cost_files.test_openai_costs import CSV, result
from tests.unit.wire.cost_files.test_openai_costs import page as openai_page

OPENAI = openai_page(result(0.5, "m, input"))


@pytest.mark.parametrize(
    ("data", "form", "lines"),
    [
        (OPENAI, "openai", 1),
        (b"\xef\xbb\xbf \n" + OPENAI, "openai", 1),
        (b"[" + OPENAI + b"," + OPENAI + b"]", "openai", 2),
        (OPENAI + b"\n\n" + OPENAI + b"\n", "openai", 2),
        (anthropic_page({}, {}), "anthropic", 2),
        (CSV.encode(), "openai", 2),
        (written(CHARGE).encode(), "focus", 1),
    ],
)
def test_each_format_is_recognised(data: bytes, form: str, lines: int) -> None:
    bill = read_bill(data)
    assert (bill.format, len(bill.lines)) == (form, lines)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"{", "not valid JSON"),
        (b"[]", "holds no costs"),
        (b'{"data": []}', "neither a page of OpenAI's costs"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a,b\n1,2\n", "line 1: the column start_time is missing"),
        (CSV.splitlines()[0].encode(), "holds no costs"),
    ],
)
def test_what_is_no_bill_is_said(data: bytes, words: str) -> None:
    with pytest.raises(InvalidBill, match=words):
        read_bill(data)


def test_the_format_that_is_asked_for_counts() -> None:
    with pytest.raises(InvalidBill, match="FOCUS file is a CSV"):
        read_bill(OPENAI, "focus")
    with pytest.raises(InvalidBill, match="Anthropic's cost report is JSON"):
        read_bill(CSV.encode(), "anthropic")


@given(st.binary(max_size=300))
def test_nothing_else_is_raised(data: bytes) -> None:
    try:
        read_bill(data)
    except InvalidBill:
        pass


@given(st.sampled_from([OPENAI, anthropic_page({}), CSV.encode(), written(CHARGE).encode()]), st.data())
def test_nothing_else_is_raised_for_a_file_with_a_fault(data: bytes, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, len(data)))
    try:
        read_bill(data[:start] + draw.draw(st.binary(max_size=5)) + data[end:])
    except InvalidBill:
        pass
