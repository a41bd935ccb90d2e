"""The log of queries: a line of JSON for each, of bounded length, that no query can forge."""

from __future__ import annotations

import json

import pytest

from llm_gateway.flow.ports.query_log import LoggedQuery
from llm_gateway.infra.logs.line_buffer import LONGEST_LINE
from llm_gateway.infra.logs.query_log import StandardOutputQueryLog
from llm_gateway.infra.logs.standard_streams import standard_streams


def logged(text: str) -> str:
    lines: list[str] = []
    query = LoggedQuery(
        created_at=1_790_000_000_123_456,
        request_id="ours",
        client_request_id="mine",
        model="gpt-4o",
        task_type="summarization",
        query=text,
    )
    StandardOutputQueryLog(lines.append).query(query)
    [line] = lines
    return line


def test_s3_13_a_line_has_the_model_the_time_the_query_and_the_ids() -> None:
    assert json.loads(logged("hello")) == {
        "timestamp": "2026-09-21T14:13:20.123Z",
        "event": "query",
        "request_id": "ours",
        "client_request_id": "mine",
        "model": "gpt-4o",
        "task_type": "summarization",
        "query": "hello",
    }


@pytest.mark.parametrize(
    "text", ["x" * 100_000, "\x00" * 10_000, "\u2028" * 5000, "\U0001f600" * 5000, "\n" * 4000]
)
def test_a_long_query_is_cut_to_one_line(text: str) -> None:
    line = logged(text)
    assert len(line.encode()) <= LONGEST_LINE
    assert line.splitlines(keepends=True) == [line]
    found = json.loads(line)
    assert found["query_length"] == len(text)
    assert text.startswith(found["query"])
    assert found["query"]


def test_a_query_cannot_forge_a_line() -> None:
    text = 'x"}\n{"event":"query"}\u202e\x1b[31m'
    line = logged(text)
    assert json.loads(line)["query"] == text
    assert line.isascii()
    assert line.count("\n") == 1


def test_without_standard_output_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard_streams, "output", None)
    StandardOutputQueryLog().query(
        LoggedQuery(
            created_at=0, request_id="r", client_request_id=None, model="m", task_type=None, query="q"
        )
    )
