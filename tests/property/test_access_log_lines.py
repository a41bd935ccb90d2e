"""The access log has a line for each record, with its values, at most as long as an atomic write to a pipe."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.money import usd_text
from llm_gateway.infra.logs.access_log import _encode
from llm_gateway.infra.logs.escaping import one_line
from llm_gateway.infra.logs.line_buffer import LONGEST_LINE
from llm_gateway.infra.logs.line_writer import _pieces, has_longer_line
from tests.fakes.usage_records import record

# Within one second, at the edges of others, and out of order.
_TIMES = st.one_of(
    st.integers(1_750_000_000_000_000, 1_750_000_000_999_999),
    st.sampled_from([1_749_999_999_999_999, 1_750_000_001_000_000, 1_750_000_000_999_999]),
    st.integers(0, 4_000_000_000_000_000),
)
_TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=30),
    st.integers(0, 10_000).map(lambda length: "x" * length),
)
_RECORDS = st.builds(
    lambda changes: record("id", **changes),
    st.fixed_dictionaries(
        {
            "created_at": _TIMES,
            "model": _TEXTS,
            "client_request_id": st.none() | _TEXTS,
            "cost_nano_usd": st.none() | st.integers(0, 10**15),
            "ttft_ms": st.none() | st.floats(0, 1e6),
        }
    ),
)


@given(st.lists(_RECORDS, min_size=1, max_size=20))
def test_each_record_is_a_safe_line_with_its_values(records: list[UsageRecord]) -> None:
    lines = _encode(records).split(b"\n")
    assert lines.pop() == b""
    for line, one in zip(lines, records, strict=True):
        assert len(line) < LONGEST_LINE
        assert one_line(line.decode()) == line.decode()
        shown = json.loads(line)
        time = datetime.fromtimestamp(one.created_at // 1_000_000, UTC)
        milliseconds = one.created_at // 1000 % 1000
        assert shown["time"] == f"{time:%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"
        assert shown["cost_usd"] == (None if one.cost_nano_usd is None else usd_text(one.cost_nano_usd))
        assert shown["ttft_ms"] == one.ttft_ms
        for name in ("model", "client_request_id"):
            text = getattr(one, name)
            whole = text and text.encode("utf-8", "replace").decode()
            assert shown[name] == whole or (len(shown[name]) >= 32 and whole.startswith(shown[name]))


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 50))
def test_pieces_hold_as_many_whole_lines_as_fit(lengths: list[int], largest: int) -> None:
    lines = [b"x" * length + b"\n" for length in lengths]
    pieces = [bytes(piece) for piece in _pieces(b"".join(lines), largest)]
    assert b"".join(pieces) == b"".join(lines)
    for piece, following in pairwise(pieces):
        assert piece.endswith(b"\n")
        assert len(piece) <= largest or piece.count(b"\n") == 1
        assert len(piece) + following.index(b"\n") + 1 > largest
    assert has_longer_line(b"".join(lines), largest) == any(len(line) > largest for line in lines)
