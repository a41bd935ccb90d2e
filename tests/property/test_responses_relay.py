"""The relay of the Responses API's streams: whatever the byte splits, client and meter get the same."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.providers.openai.responses import read_response
from llm_gateway.providers.openai.responses_stream import ResponsesStream
from tests.fakes.responses_wire import response, response_events
from tests.fakes.script import Script, Tool

REQUEST = {"model": "m", "input": "hello"}
TEXTS = st.text(max_size=12) | st.sampled_from(["response.failed", '"error"', "[DONE]", "event: error\n\n"])
PLANS = st.builds(
    Script,
    pieces=st.lists(TEXTS, min_size=1, max_size=6).map(tuple),
    reasoning=st.lists(TEXTS, max_size=2).map(tuple),
    tools=st.lists(
        st.builds(Tool, id=st.just("call_1"), name=TEXTS, arguments=TEXTS.map(repr)), max_size=2
    ).map(tuple),
    finish_reason=st.sampled_from(["stop", "length"]),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, bytes, Script]:
    """Return what a provider sends, what a client is to get of it, and the plan of both."""
    plan = draw(PLANS)
    end = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    named = draw(st.booleans())
    sent = due = b""
    for event in response_events(1, plan, REQUEST, "fake"):
        if draw(st.booleans()):
            sent += b": ping" + end + end
        name = b"event: " + event["type"].encode() + end if named else b""
        told = name + b"data: " + msgspec.json.encode(event) + end + end
        sent += told
        due += told
    return sent, due, plan


@given(st.data(), streams(), st.booleans())
def test_the_relay_is_identical_under_every_byte_split(
    data: st.DataObject, case: tuple[bytes, bytes, Script], complete: bool
) -> None:
    sent, due, plan = case
    places = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=12)))
    drawn = [sent[a:b] for a, b in itertools.pairwise([0, *places, len(sent)]) if a < b]
    usage = read_response(msgspec.json.encode(response(1, plan, REQUEST, "fake"))).usage
    for pieces in (drawn, [sent[i : i + 1] for i in range(len(sent))], [sent]):
        reader = ResponsesStream(event_limit=1 << 20)
        relayed = b"".join(reader.feed(piece) for piece in (pieces if complete else pieces[:-1]))
        if complete:
            assert relayed + reader.end() == due
            assert (reader.done, reader.finished, reader.content_seen) == (True, True, True)
            assert reader.usage == usage
        else:
            assert due.startswith(relayed)
        assert reader.refusal is None
