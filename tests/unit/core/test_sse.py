"""Event streams are split into whole events, whatever the line ends and wherever the bytes are cut."""

from __future__ import annotations

import pytest

from llm_gateway.core.json_bounds import LARGE, MOST_EVENT_VALUES
from llm_gateway.core.sse import DONE, EventSplitter, EventTooLarge, event_data, is_noise, split_events

LIMIT = 1 << 20
BLANK_LINES = [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"]


@pytest.mark.parametrize("blank", BLANK_LINES)
def test_an_event_is_whole_at_its_blank_line(blank: bytes) -> None:
    splitter = EventSplitter(LIMIT)
    event = b"data: x" + blank
    assert splitter.feed(event + b"data: y") == event
    assert splitter.held == len(b"data: y")
    assert splitter.rest() == b"data: y"
    assert splitter.held == 0


@pytest.mark.parametrize("blank", BLANK_LINES)
def test_a_blank_line_that_arrives_byte_by_byte_ends_the_event(blank: bytes) -> None:
    splitter = EventSplitter(LIMIT)
    event = b"data: x" + blank
    blocks = [splitter.feed(bytes([byte])) for byte in event]
    assert blocks == [b""] * (len(event) - 1) + [event]
    assert splitter.held == 0


def test_a_single_line_end_does_not_end_an_event() -> None:
    splitter = EventSplitter(LIMIT)
    for piece in (b"event: a\n", b"data: x\r\n", b"data: y\r"):
        assert splitter.feed(piece) == b""
    assert splitter.feed(b"\n\r\n") == b"event: a\ndata: x\r\ndata: y\r\n\r\n"


def test_several_whole_events_are_one_block() -> None:
    splitter = EventSplitter(LIMIT)
    assert splitter.feed(b"data: 1\n\ndata: 2\n\ndata: 3") == b"data: 1\n\ndata: 2\n\n"
    assert splitter.feed(b"\n\n") == b"data: 3\n\n"


def test_a_whole_block_is_passed_on_without_a_copy() -> None:
    block = b"data: 1\n\ndata: 2\n\n"
    assert EventSplitter(LIMIT).feed(block) is block


def test_rest_forgets_the_first_part_of_a_blank_line() -> None:
    splitter = EventSplitter(LIMIT)
    splitter.feed(b"data: x\n")
    assert splitter.rest() == b"data: x\n"
    assert splitter.rest() == b""
    # Without the byte before, this is no blank line.
    assert splitter.feed(b"\ndata: y") == b""


def test_an_unfinished_event_over_the_limit_is_an_error() -> None:
    splitter = EventSplitter(10)
    assert splitter.feed(b"data: 1234") == b""
    with pytest.raises(EventTooLarge):
        splitter.feed(b"5")


def test_a_large_event_of_too_many_values_is_an_error_and_one_of_text_is_not() -> None:
    splitter = EventSplitter(64 * 1024 * 1024)
    text = b'data: "' + b"a" * (4 * LARGE) + b'"'
    assert splitter.feed(text) == b""
    assert splitter.feed(b"\n\n") == text + b"\n\n"
    assert splitter.feed(b"data: [" + b"{}," * MOST_EVENT_VALUES) == b""
    with pytest.raises(EventTooLarge, match="JSON values"):
        splitter.feed(b"{}]\n\n")


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_large_event_of_too_many_lines_is_an_error(end: bytes) -> None:
    splitter = EventSplitter(64 * 1024 * 1024)
    assert splitter.feed((b"data:" + end) * MOST_EVENT_VALUES + b"data:a") == b""
    with pytest.raises(EventTooLarge, match="lines"):
        splitter.feed(end + end)


def test_the_limit_is_for_one_event_and_not_for_the_stream() -> None:
    splitter = EventSplitter(10)
    for _ in range(100):
        assert splitter.feed(b"data: 1") == b""
        assert splitter.feed(b"\n\n") == b"data: 1\n\n"


@pytest.mark.parametrize("blank", [*BLANK_LINES, b"\r\n\r", b"\n\r"])
def test_a_block_is_split_at_every_kind_of_blank_line(blank: bytes) -> None:
    events = [b"data: 1" + blank, b": ping" + blank, b"data: 2" + blank]
    assert list(split_events(b"".join(events))) == events


def test_a_block_without_a_last_blank_line_ends_with_the_rest() -> None:
    assert list(split_events(b"data: 1\n\ndata: 2")) == [b"data: 1\n\n", b"data: 2"]
    assert list(split_events(b"")) == []


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (DONE, b"[DONE]"),
        (b'data: {"a":1}\n\n', b'{"a":1}'),
        (b"data: x\r\n\r\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x \n\n", b" x "),
        (b"data:\n\n", b""),
        (b"event: delta\ndata: x\nid: 7\n\n", b"x"),
        (b"data: one\ndata: two\n\n", b"one\ntwo"),
        (b"data: one\rdata: two\r\r", b"one\ntwo"),
        (b": ping\n\n", None),
        (b"event: ping\n\n", None),
        (b"database: x\n\n", None),
        (b"", None),
    ],
)
def test_the_data_of_an_event(event: bytes, data: bytes | None) -> None:
    assert event_data(event) == data


@pytest.mark.parametrize(
    "data", [b"ping", b"[PING]", b" keep-alive ", b"HEARTBEAT", b"pong", b"[done]", b"DONE"]
)
def test_data_that_only_keeps_a_connection_open_is_noise(data: bytes) -> None:
    assert is_noise(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"Internal Server Error", b"{", b'{"ping', b"shopping", b"not done yet", b"-" * 99 + b"ping"],
)
def test_any_other_data_is_no_noise(data: bytes) -> None:
    assert not is_noise(data)
