"""The last usage of a stream gets the cost; every other byte stays, and nothing else is delayed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.errors import UpstreamFailed
from llm_gateway.core.sse import split_events
from llm_gateway.flow.ports.dialect import ReplyFacts, StreamEncoder
from llm_gateway.flow.request.usage_cost import UsageCostEncoder
from llm_gateway.providers.base import NO_TAIL, StreamTail
from llm_gateway.surfaces.openai.dialect import CHAT, RESPONSE
from tests.fakes.chat_requests import DONE, HELLO, ROLE, STOP, USAGE
from tests.fakes.reply_facts import StatedFacts

PRICED = USAGE.replace(b":5}}", b':5,"cost_usd":"0.00042"}}')
FACTS = StatedFacts(cost_nano_usd=420_000)
UNKNOWN = StatedFacts(cost_nano_usd=None)
# Usage so far, as some servers send it with every chunk.
SO_FAR = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":3}}\n\n'
NO_USAGE = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}\n\n'
QUOTED = b'data: {"choices":[{"index":0,"delta":{"content":"\\"usage\\":{}"}}]}\n\n'


class Upper(StreamEncoder):
    """A dialect's own encoder."""

    def feed(self, events: bytes) -> bytes:
        return events.upper()

    def end(self, facts: ReplyFacts) -> bytes:
        del facts
        return b"<end>"

    def fail(self, error: Any, tail: StreamTail, facts: ReplyFacts) -> bytes:
        del tail, facts
        return f"<{error.message}>".encode()


def encoder(inner: StreamEncoder | None = None) -> UsageCostEncoder:
    return UsageCostEncoder(CHAT, inner)


def test_the_usage_chunk_has_the_cost() -> None:
    one = encoder()
    assert one.feed(ROLE + HELLO) == ROLE + HELLO
    assert one.feed(STOP + USAGE) == STOP
    assert one.end(FACTS) == PRICED + DONE


def test_an_unknown_cost_is_null() -> None:
    one = encoder()
    one.feed(USAGE)
    assert b'"total_tokens":5,"cost_usd":null}' in one.end(UNKNOWN)


def test_a_stream_without_usage_passes_unchanged() -> None:
    one = encoder()
    events = (ROLE, HELLO, NO_USAGE, QUOTED, STOP)
    assert b"".join(map(one.feed, events)) + one.end(FACTS) == b"".join(events) + DONE


def test_usage_so_far_is_one_event_late_and_the_last_one_has_the_cost() -> None:
    one = encoder()
    assert one.feed(SO_FAR) == b""
    assert one.feed(SO_FAR) == SO_FAR
    assert one.feed(HELLO) == SO_FAR + HELLO
    assert one.feed(SO_FAR + STOP + USAGE) == SO_FAR + STOP
    assert one.end(FACTS) == PRICED + DONE


def test_a_failed_stream_has_the_cost_before_its_error() -> None:
    one = encoder()
    one.feed(HELLO + USAGE)
    out = one.fail(UpstreamFailed("cut"), NO_TAIL, FACTS)
    assert out.startswith(PRICED + b'data: {"error":')


def test_the_dialects_encoder_comes_after_it() -> None:
    one = encoder(Upper())
    assert one.feed(HELLO) == HELLO.upper()
    assert one.feed(USAGE) == b""
    assert one.end(FACTS) == PRICED.upper() + b"<end>"
    one = encoder(Upper())
    assert one.fail(UpstreamFailed("cut"), NO_TAIL, FACTS) == b"<cut>"


def test_the_event_that_ends_a_response_has_the_cost() -> None:
    one = UsageCostEncoder(RESPONSE, None)
    begun = b'event: response.created\ndata: {"type":"response.created","response":{"usage":null}}\n\n'
    event = (
        b"event: response.completed\n"
        b'data: {"type":"response.completed","response":{"id":"r","usage":{"input_tokens":3}}}\n\n'
    )
    assert one.feed(begun) == begun
    assert one.feed(event) == b""
    assert one.end(FACTS) == event.replace(b":3}", b':3,"cost_usd":"0.00042"}')


@pytest.mark.parametrize(
    ("usage", "priced"),
    [
        (b"{}", b'{"cost_usd":"0.00042"}'),
        (b"{ }", b'{"cost_usd":"0.00042"}'),
        (b'{"a": {"b": 1} }', b'{"a": {"b": 1},"cost_usd":"0.00042"}'),
    ],
)
def test_a_usage_of_any_form(usage: bytes, priced: bytes) -> None:
    one = encoder()
    one.feed(b'data: {"usage":%b,"choices":[]}\n\n' % usage)
    assert one.end(FACTS) == b'data: {"usage":%b,"choices":[]}\n\n' % priced + DONE


def test_data_in_several_lines_is_written_in_one() -> None:
    one = encoder()
    one.feed(b'data: {"choices":[],\ndata: "usage":{"total_tokens":5}}\n\n')
    [event, _] = split_events(one.end(FACTS))
    data = msgspec.json.decode(event.removeprefix(b"data: "))
    assert data == {"choices": [], "usage": {"total_tokens": 5, "cost_usd": "0.00042"}}


EVENTS = st.lists(st.sampled_from([ROLE, HELLO, STOP, USAGE, SO_FAR, NO_USAGE, QUOTED]), max_size=12)


@given(EVENTS, st.data())
def test_without_the_cost_the_stream_is_the_same_however_it_is_cut(events: list[bytes], data: Any) -> None:
    one = encoder()
    out, rest = b"", list(events)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        out += one.feed(b"".join(rest[:size]))
        rest = rest[size:]
    out += one.end(FACTS)
    cost = b',"cost_usd":"0.00042"'
    assert out.replace(cost, b"") == b"".join(events) + DONE
    # If the last event has a usage, that has the cost, and no other has.
    assert out.count(cost) == bool(events and events[-1] in {USAGE, SO_FAR})
