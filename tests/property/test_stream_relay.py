"""The relay of event streams: whatever the byte splits, client and meter get the same."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.sse import EventSplitter, event_data, split_events
from llm_gateway.providers.openai.event_stream import OpenAIReplyStream

TEXTS = st.text(min_size=0, max_size=12)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": index, "delta": delta, "finish_reason": finish}], "usage": None}


DELTAS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    TEXTS.map(lambda text: {"content": text}),
    TEXTS.map(lambda text: {"reasoning_content": text}),
    TEXTS.map(lambda text: {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}),
    st.just({"role": "assistant", "content": ""}),
    st.just({}),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Return the events a client is to get, and the whole stream that a provider sends."""
    end = draw(LINE_ENDS)

    def event(payload: bytes) -> bytes:
        return b"data: " + payload + end + end

    events, sent = [], b""
    for delta in draw(st.lists(DELTAS, max_size=8)):
        if draw(st.booleans()):
            sent += b": ping" + end + end
        events.append(event(msgspec.json.encode(chunk(delta))))
        sent += events[-1]
    events.append(event(msgspec.json.encode(chunk({}, "stop"))))
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
    sent += events[-1] + event(msgspec.json.encode(usage)) + event(b"[DONE]")
    return events, sent


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
    edges = [0, *places, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


def read(pieces: list[bytes]) -> tuple[bytes, OpenAIReplyStream]:
    reader = OpenAIReplyStream(choices=1, hide_usage=True, event_limit=1 << 20)
    return b"".join(reader.feed(piece) for piece in pieces), reader


@given(st.data(), streams())
def test_s4_2_the_relay_is_identical_under_every_byte_split(
    data: st.DataObject, case: tuple[list[bytes], bytes]
) -> None:
    events, sent = case
    one_by_one = list(split_events(sent))
    for pieces in (data.draw(cuts(sent)), [sent[i : i + 1] for i in range(len(sent))], [sent], one_by_one):
        out, reader = read(pieces)
        assert out == b"".join(events)
        assert reader.done
        assert reader.finished
        assert reader.content_seen
        assert reader.usage is not None
        assert reader.usage.total_tokens == 3


@given(
    st.data(),
    st.lists(st.sampled_from([b"data: x", b": c", b"\n", b"\r\n", b"\r", b"", b"\n\n"]), max_size=30),
)
def test_no_byte_is_lost_or_added_by_the_splitter(data: st.DataObject, tokens: list[bytes]) -> None:
    sent = b"".join(tokens)
    splitter = EventSplitter(1 << 20)
    blocks = [splitter.feed(piece) for piece in data.draw(cuts(sent))]
    assert b"".join(blocks) + splitter.rest() == sent
    for block in blocks:
        assert b"".join(split_events(block)) == block


def test_a_drip_fed_event_is_joined_once() -> None:
    """Every byte of an event on its own costs no copy of what came before it."""
    splitter = EventSplitter(1 << 20)
    for _ in range(1000):
        splitter.feed(b"x")
    assert splitter._parts == [b"x"] * 1000
    assert splitter.feed(b"\n") == b""
    assert splitter.feed(b"\n") == b"x" * 1000 + b"\n\n"


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=8), min_size=1, max_size=4
    ),
    LINE_ENDS,
)
def test_the_data_of_an_event_is_its_data_lines_joined(lines: list[str], end: bytes) -> None:
    event = b"event: x" + end + b"".join(b"data: " + line.encode() + end for line in lines) + end
    assert event_data(event) == "\n".join(lines).encode()
