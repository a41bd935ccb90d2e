"""Anthropic's adapter, given anything at all: a client's nonsense is a 400, a provider's a bad reply."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.wire.errors import BadReply
from tests.fakes.anthropic_wire import RECORDINGS, chat, deployment
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = AnthropicAdapter()
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
JSON = st.recursive(
    LEAVES
    | st.sampled_from(["text", "tool_use", "data:image/png;base64,AA==", "user", "data:;base64,", "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MODELS = st.sampled_from(["claude-opus-5", "claude-sonnet-4-5", "claude", "claude-3", "x"])
KNOWN = [*sorted({name for one in RECORDINGS for name in one.client} - {"model"}), "top_p", "n", "top_k"]


@st.composite
def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """Return a JSON value with one place in it, anywhere, replaced by something else, or gone."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 3)) == 0:
        return draw(JSON)
    if isinstance(value, list):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], draw(spoilt(value[index])), *value[index + 1 :]]
    name = draw(st.sampled_from(sorted(value)))
    if draw(st.integers(0, 3)) == 0:
        return {other: inner for other, inner in value.items() if other != name}
    return value | {name: draw(spoilt(value[name]))}


RECORDED = st.sampled_from(RECORDINGS)


@given(
    RECORDED.flatmap(lambda one: spoilt(one.client)), st.dictionaries(st.sampled_from(KNOWN), JSON), MODELS
)
def test_a_client_may_say_anything(body: Any, more: dict[str, Any], model: str) -> None:
    fields = body if isinstance(body, dict) else {}
    for said in (fields, fields | more):
        with suppress(BadRequest):
            json.loads(ADAPTER.encode(chat({"messages": []} | said), deployment(model), {}).body)


@given(
    RECORDED.filter(lambda one: one.response is not None).flatmap(
        lambda one: spoilt(json.loads(one.response or b""))
    )
)
def test_a_provider_may_answer_anything(body: Any) -> None:
    raw = json.dumps(body).encode()
    asked = chat({"messages": [], "stream": True})
    for decode in (ADAPTER.decode, partial(read_whole_reply, ADAPTER)):
        with suppress(BadReply):
            decode(raw, asked)
    with suppress(BadReply):
        ADAPTER.decode_models(raw)


@given(JSON | st.binary(max_size=30), JSON)
def test_an_error_may_be_anything(body: Any, error: Any) -> None:
    for raw in (
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        json.dumps({"error": error}).encode(),
    ):
        assert isinstance(ADAPTER.decode_error(raw), UpstreamErrorBody)


@given(st.data(), RECORDED)
def test_a_stream_may_hold_anything(data: st.DataObject, one: Any) -> None:
    reader = ADAPTER.stream(chat({"messages": [], "stream": True}), event_limit=1 << 20)
    with suppress(BadReply):
        for event in one.events:
            name, _, payload = event.partition(b"\ndata: ")
            told = data.draw(spoilt(json.loads(payload))) if data.draw(st.booleans()) else json.loads(payload)
            for line in reader.feed(name + b"\ndata: " + json.dumps(told).encode() + b"\n\n").split(b"\n\n"):
                assert not line or line.startswith(b":") or json.loads(line.removeprefix(b"data: "))
        reader.end()
