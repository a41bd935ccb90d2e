"""Gemini's streams: whatever the byte splits, a client gets the same, and the same as from the whole reply."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.providers.base import ReplyStream
from llm_gateway.providers.gemini.adapter import GeminiAdapter
from llm_gateway.providers.gemini.kind import GEMINI
from llm_gateway.wire.errors import BadReply
from tests.fakes.gemini_wire import ANSWERS, RECORDINGS, assembled, request, streamed
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = GeminiAdapter(GEMINI)
ASKED = request(stream=True, stream_options={"include_usage": True})
STREAMS = sorted(path.stem for path in RECORDINGS.glob("*.sse"))
TEXTS = st.text(max_size=8)
ENDS = st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE"])


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
    return [data[a:b] for a, b in itertools.pairwise([0, *places, len(data)]) if a < b]


def read(pieces: list[bytes], asked: Any = ASKED) -> tuple[bytes, ReplyStream]:
    reader = ADAPTER.stream(asked, event_limit=1 << 20)
    out = b"".join([reader.feed(piece) for piece in pieces])
    return out + reader.end(), reader


@given(st.data(), st.sampled_from(STREAMS))
def test_a_stream_is_read_the_same_under_every_byte_split(data: st.DataObject, name: str) -> None:
    sent = streamed(name)
    whole, reader = read([sent])
    for pieces in (data.draw(cuts(sent)), [sent[i : i + 1] for i in range(len(sent))]):
        out, again = read(pieces)
        assert out == whole
        assert (again.finished, again.usage, again.refusal) == (reader.finished, reader.usage, reader.refusal)
        assert again.content_seen == reader.content_seen


PARTS = st.one_of(
    TEXTS.map(lambda text: {"text": text}),
    TEXTS.map(lambda text: {"text": text, "thought": True}),
    TEXTS.map(lambda text: {"text": text, "thoughtSignature": "c2ln"}),
    st.dictionaries(TEXTS, st.one_of(st.integers(-9, 9), TEXTS, st.none(), st.floats(-1, 1)), max_size=2).map(
        lambda args: {"functionCall": {"name": "f", "args": args}}
    ),
    st.just({"functionCall": {"name": "g", "id": "made"}, "thoughtSignature": "eA=="}),
)


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a whole reply, and the events of the same answer as a stream."""
    parts = draw(st.lists(PARTS, max_size=8))
    end = {"finishReason": draw(ENDS), "index": 0}
    about = {
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": len(parts), "totalTokenCount": 9},
        "modelVersion": "gemini-x",
        "responseId": "r",
    }
    events = []
    left = list(parts)
    while left:
        size = draw(st.integers(1, 3))
        events.append({"candidates": [{"content": {"parts": left[:size]}, "index": 0}], **about})
        left = left[size:]
    whole = {"candidates": [{"content": {"role": "model", "parts": parts}, **end}], **about}
    return whole, [*events, {"candidates": [end], **about}]


@given(exchanges(), st.sampled_from(["chat/completions", "completions"]))
def test_streamed_and_unstreamed_are_equal(
    exchange: tuple[dict[str, Any], list[dict[str, Any]]], endpoint: Any
) -> None:
    whole, events = exchange
    asked = request(endpoint=endpoint, stream=True, stream_options={"include_usage": True})
    sent = b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events)
    out, reader = read([sent], asked)
    body = json.dumps(whole).encode()
    completion = ADAPTER.decode(body, request(endpoint=endpoint))
    assert assembled(out) == json.loads(completion.body)
    assert reader.usage == completion.usage
    assert reader.finished
    assert assembled(read_whole_reply(ADAPTER, body, asked)[0]) == json.loads(completion.body)
    assert read_whole_reply(ADAPTER, json.dumps(events).encode(), asked) == (out, reader.usage)


@given(st.binary(max_size=60), st.sampled_from(ANSWERS))
def test_no_bytes_break_the_readers(junk: bytes, name: str) -> None:
    """Nonsense is BadReply or a refusal, never another exception."""
    ADAPTER.decode_error(junk)
    for body in (junk, b'{"candidates":' + junk, streamed(name)[: len(junk) * 7]):
        try:
            ADAPTER.decode(body, ASKED)
        except BadReply:
            pass
        try:
            read_whole_reply(ADAPTER, body, ASKED)
        except BadReply:
            pass
        try:
            read([body, junk])
        except BadReply:
            pass
