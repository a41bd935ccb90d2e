"""Which events are recognised without a parser, and what they are taken for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.providers.openai.usual_event import (
    CONTENT,
    DONE,
    EMPTY,
    FINISH,
    KIND_BITS,
    LINE,
    USAGE,
    python_usual_event,
    usual_event,
)
from tests.fakes.compiled_parts import need_compiled

SHARED = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": "m"}
STYLES = [(",", ":"), (", ", ": "), (",  ", ": ")]


@pytest.fixture(autouse=True)
def _compiled() -> None:
    need_compiled()


def kind_of(data: bytes) -> int:
    """Return the kind of an event with `data`, wherever it stands."""
    event = b"data: " + data + b"\n\n"
    found = usual_event(event, 0)
    before, after = b"data: {}\n\n", b'data: {"a":\n\n'
    moved = usual_event(before + event + after, len(before))
    if found == 0:
        assert moved == 0
        return 0
    kind = found - (len(event) << KIND_BITS)
    assert moved == (len(before + event) << KIND_BITS) + kind
    return kind


def chunk(choice: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**SHARED, "choices": [choice], **more}


def chat(delta: Any, **more: Any) -> dict[str, Any]:
    return chunk({"index": 0, "delta": delta, "finish_reason": None, **more})


def written(value: Any, style: tuple[str, str] = (",", ":")) -> bytes:
    return json.dumps(value, separators=style, ensure_ascii=False).encode()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (chat({"role": "assistant", "content": ""}), EMPTY),
        (chat({"role": "assistant", "content": None, "refusal": None}), EMPTY),
        (chat({"content": "", "tool_calls": [], "a": {}, "b": False}), EMPTY),
        (chat({}), EMPTY),
        (chat(None), EMPTY),
        (chunk({}), EMPTY),
        (chat({"content": " token"}), CONTENT),
        (chat({"content": "é 😀 \x7f"}), CONTENT),
        (chat({"content": 'a "quoted" \\ line\n'}), CONTENT),
        (chat({"content": "long " * 100}), CONTENT),
        (chat({"reasoning_content": "x"}), CONTENT),
        (chat({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}), CONTENT),
        (chat({"a": 0}), CONTENT),
        (chat({"a": True}), CONTENT),
        (chat({"content": "x"}, logprobs={"content": [{"token": "x", "logprob": -0.1}]}), CONTENT),
        (chat({"content": "x"}, content_filter_results={"hate": {"filtered": False}}), CONTENT),
        (chunk({"index": 3, "delta": {"content": "x"}}), CONTENT),
        (chunk({"text": "x", "index": 0, "logprobs": None, "finish_reason": None}), CONTENT),
        (chunk({"text": "", "index": 0}), EMPTY),
        (chunk({"text": None}), EMPTY),
        (chat({}, message=None, error=None, usage=None), EMPTY),
        (chunk({}, usage=None, error=None, x_groq=None, service_tier="default", obfuscation="a"), EMPTY),
        (chat({}, finish_reason="stop"), FINISH),
        (chat({"content": "x"}, finish_reason="length"), FINISH),
        (chat({}, finish_reason="tool_calls"), FINISH),
        (chat({}, finish_reason="content_filter"), FINISH),
        (chat({}, finish_reason="function_call"), FINISH),
        (chunk({"finish_reason": "stop"}), FINISH),
    ],
)
def test_usual_chunks(value: dict[str, Any], kind: int, style: tuple[str, str]) -> None:
    assert kind_of(written(value, style)) == kind


@pytest.mark.parametrize("style", STYLES)
def test_a_usage_is_left_to_the_parser(style: tuple[str, str]) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    assert kind_of(written({**SHARED, "choices": [], "usage": usage}, style)) == USAGE
    assert kind_of(written(chunk({"delta": {}}, usage=usage), style)) == USAGE
    assert kind_of(written({"usage": {}, "choices": []}, style)) == USAGE


@pytest.mark.parametrize(
    "data",
    [
        written({**SHARED, "choices": []}),
        written({**SHARED, "choices": [{}, {}]}),
        written({**SHARED, "choices": None}),
        written({**SHARED, "choices": {}}),
        written({**SHARED, "choices": [None]}),
        written(SHARED),
        b"{}",
        written(chunk({}, error={"message": "no"})),
        written(chunk({}, error="")),
        written(chunk({}, x_groq={"usage": {}})),
        written(chunk({}, usage=5)),
        written(chunk({}, service_tier=1)),
        written(chat({}, finish_reason="eos")),
        written(chat({}, finish_reason="")),
        written(chat({}, finish_reason=1)),
        written(chat("x")),
        written(chat([])),
        written(chat({}, message={})),
        written(chat({}, error="x")),
        written(chat({}, usage={})),
        written(chunk({"text": 1})),
        # Which choice is finished, is not said.
        written(chunk({"index": 1, "finish_reason": "stop"})),
        written(chunk({"index": 10})),
        written(chunk({"index": -1})),
        written(chunk({"index": 1.0})),
        written(chunk({"index": None})),
        written(chunk({"index": "0"})),
        b'{"choices":[{"index":00}]}',
        b'{"choices":[{"index":1e1}]}',
        # Names that are there twice, with escapes, or written otherwise.
        b'{"choices":[{"delta":{"content":"a","content":""}}]}',
        b'{"choices":[{"delta":{}}],"choices":[]}',
        b'{"id":"a","id":"b","choices":[{}]}',
        b'{"\\u0065rror":"a","choices":[{}]}',
        b'{"choices":[{"delta":{"rol\\u0065":"a"}}]}',
        b'{"choices" :[{}]}',
        b'{"choices":  [{}]}',
        b'{"choices":\t[{}]}',
        b"{choices:[{}]}",
        b"{1:2}",
        written(chat({str(number): None for number in range(30)})),
        # What is not JSON.
        b'{"choices":[{}]',
        b'{"choices":[{}]}}',
        b'{"choices":[{}]} ',
        b'{"choices":[{}],}',
        b'{"choices":[{},]}',
        b'{"choices":[{}] "a":1}',
        b'{"choices":[{"delta":{"content":"a\\x"}}]}',
        b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}',
        b'{"choices":[{"delta":{"content":"a\x1f"}}]}',
        b'{"choices":[{"delta":{"content":"a\x00"}}]}',
        b'{"choices":[{"delta":{"content":"\xc3"}}]}',
        b'{"choices":[{"delta":{"content":"\xed\xa0\x80"}}]}',
        b'{"choices":[{"delta":{"content":"a}}]}',
        b'{"choices":[{"delta":{"a":nul}}]}',
        b'{"choices":[{"delta":' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}]}",
        b"{",
    ],
)
def test_in_doubt_a_parser_has_to_tell(data: bytes) -> None:
    assert kind_of(data) == LINE


def test_the_end_of_a_stream() -> None:
    assert kind_of(b"[DONE]") == DONE


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"\n\n",
        b"data: ",
        b"data: \n\n",
        b"data: {}",
        b"data: {}\n",
        b"data: {}\ndata: {}\n\n",
        b'data: {"choices":[{}],\n"id":"a"}\n\n',
        b'data: {"choices":[{}]}\r\n\r\n',
        b'data: {"choices":[{}],\r"id":"a"}\n\n',
        b'data:{"choices":[{}]}\n\n',
        b'data:  {"choices":[{}]}\n\n',
        b'event: error\ndata: {"choices":[{}]}\n\n',
        b'{"choices":[{}]}\n\n',
        b": ping\n\n",
        b"data: ping\n\n",
        b"data: [DONE] \n\n",
        b"data: [done]\n\n",
        b"data: [DONE",
    ],
)
def test_other_events_are_not_told(event: bytes) -> None:
    assert usual_event(event, 0) == 0


def test_in_python_nothing_is_recognised() -> None:
    assert python_usual_event(b"data: [DONE]\n\n", 0) == 0


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ((), TypeError),
        ((b"a",), TypeError),
        (("text", 0), TypeError),
        ((b"a", "0"), TypeError),
        ((b"a", -1), ValueError),
        ((b"a", 2), ValueError),
        ((b"a", 1 << 80), OverflowError),
    ],
)
def test_other_arguments_are_an_error(wrong: tuple[object, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        usual_event(*wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [900, 1024, 5000])
def test_lines_of_any_length_end_at_their_first_line_end(size: int) -> None:
    text = "x" * size
    assert kind_of(written(chat({"content": text}))) == CONTENT
    for odd in (b"\r", b"\r\r", b"\r\n\r\n"):
        sent = b"data: " + written(chat({"content": text})) + odd
        assert usual_event(sent, 0) == usual_event(sent + b"data: {}\n\n", 0) == 0
    assert usual_event(b"data: " + written(chat({"content": text})) + b"\n", 0) == 0
