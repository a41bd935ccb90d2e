"""Parameters of queries are known ones with usable values, or are refused by name."""

from __future__ import annotations

import pytest

from llm_gateway.core.errors import Unprocessable
from llm_gateway.surfaces.translating.queries import read_query, time_in

KNOWN = ("agent_id", "since")


def test_known_parameters_are_read() -> None:
    assert read_query(b"agent_id=agent%3Asofia&since=", KNOWN) == {"agent_id": "agent:sofia", "since": ""}
    assert read_query(b"", KNOWN) == {}


@pytest.mark.parametrize(
    ("query", "param", "words"),
    [
        (b"agent=x", "agent", "use one of: agent_id, since"),
        (b"agent_id=%00", "agent_id", "NUL"),
        (b"&".join([b"agent_id=x"] * 200), None, "more than 100"),
    ],
)
def test_others_are_refused(query: bytes, param: str | None, words: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        read_query(query, KNOWN)
    assert words in refused.value.message
    assert refused.value.param == param


def test_times_are_microseconds() -> None:
    assert time_in({"since": "1700000000"}, "since") == 1_700_000_000_000_000
    assert time_in({}, "since") is None
    with pytest.raises(Unprocessable) as refused:
        time_in({"since": "soon"}, "since")
    assert refused.value.param == "since"
