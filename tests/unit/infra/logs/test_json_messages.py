"""A message is one JSON object on one line, however long or odd its texts are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from llm_gateway.infra.logs.json_messages import LogMessage, json_time, message_line
from llm_gateway.infra.logs.line_buffer import LONGEST_LINE


def message(**fields: str) -> LogMessage:
    return LogMessage(**{"time": "t", "level": "info", "process": 1, "message": "m", **fields})  # type: ignore[arg-type]


def test_a_short_message_stays_as_it_is() -> None:
    assert message_line(message()) == '{"time":"t","level":"info","process":1,"message":"m"}\n'


@pytest.mark.parametrize(
    "text", ["a" * 10_000, "\x00" * 10_000, "\U0001f600" * 5_000, "\U000e0001" * 5_000, "\ud800" * 900]
)
@pytest.mark.parametrize("field", ["message", "traceback"])
def test_a_long_text_is_cut_and_the_line_is_still_json(field: str, text: str) -> None:
    line = message_line(message(**{field: f"begin{text}end"}))
    assert len(line.encode()) <= LONGEST_LINE
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    shown = json.loads(line)[field]
    assert " ... (cut) " in shown or len(text) == 900
    if field == "message":
        assert shown.startswith("begin")
    else:
        assert shown.endswith("end")


def test_a_traceback_is_cut_before_the_message() -> None:
    decoded = json.loads(message_line(message(message="b" * 3000, traceback="c" * 3000)))
    assert decoded["message"] == "b" * 3000
    assert decoded["traceback"].endswith("c" * 100)


@pytest.mark.parametrize("character", ["\x85", "\x7f", "\u2028", "\u202e", "\u200b", "\x1b", "\n"])
def test_no_dangerous_character_is_written(character: str) -> None:
    line = message_line(message(message=f"a{character}b", request_id=character))
    assert character not in line.removesuffix("\n")
    assert json.loads(line)["message"] == f"a{character}b"


def test_times_are_in_utc() -> None:
    assert json_time(datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)) == "2026-01-02T03:04:05.678Z"
    east = timezone(timedelta(hours=2))
    assert json_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=east)) == "2026-01-02T01:04:05.000Z"
