"""Anthropic's dialect: whole and streamed are one answer, whatever is said, and nothing is lost unseen either way."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.errors import BadRequest
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from llm_gateway.providers.anthropic.streaming import AnthropicStream
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.anthropic_wire import chat, deployment, request_faults
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = AnthropicAdapter()
ASKED = chat({"messages": [], "stream": True})
TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)
SIGNS = st.text(alphabet="abcXYZ+/=", min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
INPUTS = st.dictionaries(TEXTS, JSON, max_size=3)
BLOCKS = st.one_of(
    TEXTS.map(lambda text: {"type": "text", "text": text}),
    st.builds(lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, TEXTS, SIGNS),
    SIGNS.map(lambda data: {"type": "redacted_thinking", "data": data}),
    INPUTS.map(lambda given: {"type": "tool_use", "id": "", "name": "look", "input": given}),
)
STOPS = st.sampled_from(["end_turn", "tool_use", "max_tokens", "refusal", "pause_turn", "stop_sequence"])
COUNTS = st.integers(0, 1000)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    content = draw(st.lists(BLOCKS, max_size=6))
    for index, block in enumerate(content):
        if block["type"] == "tool_use":
            block["id"] = f"toolu_{index}"
    usage = {
        "input_tokens": draw(COUNTS), "cache_read_input_tokens": draw(st.none() | COUNTS),
        "output_tokens": draw(COUNTS),
    }  # fmt: skip
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5", "content": content,
        "stop_reason": draw(STOPS), "usage": usage,
    }  # fmt: skip


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=3)))
    return [text[a:b] for a, b in itertools.pairwise([0, *places, len(text)])]


@st.composite
def streams(draw: st.DrawFn, message: dict[str, Any]) -> bytes:
    """Return a message as the provider may stream it, cut into pieces anywhere, with pings."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    out: list[str] = []

    def event(kind: str, **fields: Any) -> None:
        out.append(f"event: {kind}{end}data: {json.dumps({'type': kind} | fields)}{end}{end}")
        if draw(st.integers(0, 9)) == 0:
            out.append(f'event: ping{end}data: {{"type": "ping"}}{end}{end}')

    event(
        "message_start", message=message | {"content": [], "usage": message["usage"] | {"output_tokens": 1}}
    )
    for index, block in enumerate(message["content"]):
        empty = {"text": "", "thinking": "", "signature": "", "input": {}}
        start = {name: empty.get(name, value) for name, value in block.items() if name != "type"}
        event("content_block_start", index=index, content_block={"type": block["type"]} | start)
        for delta in draw(deltas(block)):
            event("content_block_delta", index=index, delta=delta)
        event("content_block_stop", index=index)
    last = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    event("message_delta", delta=last, usage={"output_tokens": message["usage"]["output_tokens"]})
    event("message_stop")
    return "".join(out).encode()


@st.composite
def deltas(draw: st.DrawFn, block: dict[str, Any]) -> list[dict[str, Any]]:
    if block["type"] == "text":
        return [{"type": "text_delta", "text": text} for text in draw(pieces(block["text"]))]
    if block["type"] == "thinking":
        thoughts = draw(pieces(block["thinking"]))
        return [
            *({"type": "thinking_delta", "thinking": text} for text in thoughts),
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    if block["type"] == "tool_use":
        text = json.dumps(block["input"]) if block["input"] or draw(st.booleans()) else ""
        return [{"type": "input_json_delta", "partial_json": part} for part in draw(pieces(text))]
    return []


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
    return [data[a:b] for a, b in itertools.pairwise([0, *places, len(data)]) if a < b]


def read(parts: list[bytes]) -> tuple[bytes, AnthropicStream]:
    reader = AnthropicStream(ASKED, event_limit=1 << 20)
    return b"".join([reader.feed(part) for part in parts]) + reader.end(), reader


def added_up(events: bytes) -> dict[str, Any]:
    """Put a stream together as a plain client does."""
    message: dict[str, Any] = {"role": None, "content": None, "refusal": None}
    calls: list[dict[str, Any]] = []
    finish, usage = None, None
    for raw in split_events(events):
        data = event_data(raw)
        if data is None:
            continue
        chunk = json.loads(data)
        usage = chunk.get("usage", usage)
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            for name, value in choice["delta"].items():
                if name != "tool_calls":
                    message[name] = value if message.get(name) is None else message[name] + value
            for piece in choice["delta"].get("tool_calls", ()):
                if piece["index"] == len(calls):
                    calls.append({name: piece[name] for name in ("id", "type", "function")})
                else:
                    calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    return told(message | ({"tool_calls": calls} if calls else {}), finish, usage)


def told(message: dict[str, Any], finish: Any, usage: Any) -> dict[str, Any]:
    for call in message.get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return {"message": message, "finish_reason": finish, "usage": usage}


@given(st.data(), messages())
def test_streamed_and_whole_are_one_answer_under_every_split(
    data: st.DataObject, message: dict[str, Any]
) -> None:
    body = json.dumps(message).encode()
    done = ADAPTER.decode(body, ASKED)
    completion = json.loads(done.body)
    (choice,) = completion["choices"]
    wanted = told(choice["message"], choice["finish_reason"], completion["usage"])
    sent = data.draw(streams(message))
    at_once, reader = read([sent])
    for parts in (data.draw(cuts(sent)), [sent[i : i + 1] for i in range(len(sent))]):
        assert read(parts)[0] == at_once
    assert added_up(at_once) == wanted
    assert reader.done
    assert reader.finished
    assert reader.usage == done.usage
    events, usage = read_whole_reply(ADAPTER, body, ASKED)
    assert added_up(events) == wanted
    assert usage == done.usage


def in_order(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return blocks as they have to come back: between two thoughts, the words as one block, then the calls."""
    out: list[dict[str, Any]] = []
    words, calls = "", []
    for block in [*content, {"type": "end"}]:
        if block["type"] == "text":
            words += block["text"]
        elif block["type"] == "tool_use":
            calls.append(block)
        else:
            out += [{"type": "text", "text": words}] if words.strip() else []
            out += [*calls, block]
            words, calls = "", []
    return out[:-1]


@given(messages())
def test_an_answer_that_a_client_gives_back_returns_as_it_was_said(message: dict[str, Any]) -> None:
    message["stop_reason"] = "tool_use"
    said = json.loads(ADAPTER.decode(json.dumps(message).encode(), ASKED).body)["choices"][0]["message"]
    body = {"messages": [{"role": "user", "content": "Hi"}, said, {"role": "user", "content": "Go on"}]}
    sent = ADAPTER.encode(chat(body), deployment("claude-opus-5"), {})
    asked = json.loads(sent.body)
    assert sent.ignored_fields == ()
    assert request_faults(asked) == []
    answers = [
        block for turn in asked["messages"] if turn["role"] == "assistant" for block in turn["content"]
    ]
    assert answers == in_order(message["content"])


WORDS = st.text(alphabet="abcdef", min_size=3, max_size=6)
KEPT = st.fixed_dictionaries({"type": st.just("text"), "text": WORDS})
IMAGE = WORDS.map(lambda word: {"type": "image_url", "image_url": {"url": f"https://x.example/{word}"}})
CALL = st.builds(
    lambda name, word: {
        "id": f"id_{name}", "type": "function", "function": {"name": name, "arguments": json.dumps({"a": word})},
    },
    WORDS, WORDS,
)  # fmt: skip
SPOKEN = st.one_of(
    st.builds(lambda word: {"role": "system", "content": word}, WORDS),
    st.lists(KEPT | IMAGE, min_size=1, max_size=3).map(lambda parts: {"role": "user", "content": parts}),
    st.builds(lambda word, name: {"role": "user", "content": word, "name": name}, WORDS, WORDS),
    st.builds(
        lambda word, calls: {"role": "assistant", "content": word, "tool_calls": calls},
        WORDS, st.lists(CALL, min_size=1, max_size=2),
    ),
    st.builds(lambda word: {"role": "assistant", "content": None, "refusal": word}, WORDS),
    st.builds(lambda word: {"role": "assistant", "content": word, "reasoning_content": word + "!"}, WORDS),
    st.builds(lambda name, word: {"role": "tool", "tool_call_id": f"id_{name}", "content": word}, WORDS, WORDS),
)  # fmt: skip
EXTRA = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "stop": st.lists(WORDS, max_size=3),
        "seed": st.integers(),
        "user": WORDS,
        "n": st.just(1),
        "logprobs": st.just(value=False),
        "reasoning_effort": st.sampled_from(["none", "low", "high", "xhigh"]),
    },
)
# What cannot be carried.
ODD = st.sampled_from([{}, {}, {}, {}, {"n": 2}, {"logprobs": True}, {"a_field_of_tomorrow": "x"}])
MODELS = st.sampled_from(["claude-opus-5", "claude-opus-4-6", "claude-sonnet-4-5", "claude-fable-5", "other"])
# Fields whose every word is in the request, in one form or another.
_SPELT_OTHERWISE = {"role", "type", "id", "tool_call_id", "format"}


def leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Return every word that a client said, with its path."""
    if isinstance(value, dict):
        inner = [(f"{path}.{name}", one) for name, one in value.items() if name not in _SPELT_OTHERWISE]
    elif isinstance(value, list):
        inner = [(f"{path}[{index}]", one) for index, one in enumerate(value)]
    else:
        return [(path, value)] if isinstance(value, str) else []
    return [leaf for where, one in inner for leaf in leaves(one, where)]


def encoded_or_refused(body: dict[str, Any], model: str) -> UpstreamRequest | BadRequest:
    try:
        return ADAPTER.encode(chat(body), deployment(model), {})
    except BadRequest as refused:
        return refused


@given(st.lists(SPOKEN, min_size=1, max_size=6), EXTRA, ODD, MODELS)
def test_nothing_that_a_client_says_is_lost_unseen(
    spoken: list[dict[str, Any]], extra: dict[str, Any], odd: dict[str, Any], model: str
) -> None:
    body = {"messages": spoken} | extra | odd
    sent = encoded_or_refused(body, model)
    if isinstance(sent, BadRequest):
        assert sent.param in body
        assert sent.code == "unsupported_by_provider"
        return
    assert not odd
    request = json.loads(sent.body)
    assert request_faults(request) == []
    said = "\n".join(str(leaf) for _, leaf in leaves(request)) + json.dumps(request)
    for path, word in leaves(spoken, "messages"):
        texts = json.loads(word).values() if path.endswith(".arguments") else [word]
        assert path in sent.ignored_fields or all(text in said for text in texts)
    roles = [turn["role"] for turn in request["messages"]]
    assert all(a != b for a, b in itertools.pairwise(roles))
    for name, value in extra.items():
        assert name in sent.ignored_fields or carried(name, value, request)


def carried(name: str, value: Any, request: dict[str, Any]) -> bool:
    """Tell whether a field stands in the request under its own or another name, or asks for nothing."""
    if name in {"temperature", "top_p"}:
        return bool(value == 1 or request.get(name) == value)
    if name == "stop":
        return bool(request.get("stop_sequences", []) == value)
    if name == "user":
        return bool(request["metadata"] == {"user_id": value})
    if name == "reasoning_effort":
        thinks = request.get("thinking", {}).get("type")
        return thinks in {None, "disabled"} if value == "none" else bool(thinks)
    return value in {1, False}
