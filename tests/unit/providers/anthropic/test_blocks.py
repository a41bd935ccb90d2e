"""Blocks of one message may be open at once: each piece goes where its index says."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.providers.anthropic.streaming import AnthropicStream
from llm_gateway.wire.errors import BadReply
from tests.fakes.anthropic_replies import ASKED, DELTA, END, START, chunks, event, message


def begin(index: Any, kind: str, **fields: Any) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind} | fields)


def call(index: Any, name: str, **fields: Any) -> bytes:
    return begin(index, "tool_use", **{"id": f"id-{name}", "name": name, "input": {}} | fields)


def piece(index: Any, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta=fields)


def text(index: Any, said: str) -> bytes:
    return piece(index, type="text_delta", text=said)


def thought(index: Any, said: str) -> bytes:
    return piece(index, type="thinking_delta", thinking=said)


def arguments(index: Any, said: str) -> bytes:
    return piece(index, type="input_json_delta", partial_json=said)


def end(index: Any) -> bytes:
    return event("content_block_stop", index=index)


def assembled(*events: bytes) -> dict[str, Any]:
    """Return the message that a client puts together from the chunks of a stream."""
    return put_together(
        AnthropicStream(ASKED, event_limit=1 << 16).feed(START + b"".join(events) + DELTA + END)
    )


def put_together(out: bytes) -> dict[str, Any]:
    made: dict[str, Any] = {"content": "", "reasoning": "", "details": [], "calls": {}}
    for chunk in chunks(out):
        for delta in (one["delta"] for one in chunk["choices"]):
            made["content"] += delta.get("content") or ""
            made["reasoning"] += delta.get("reasoning_content") or ""
            made["details"] += delta.get("reasoning_details") or ()
            for one in delta.get("tool_calls") or ():
                before = made["calls"].setdefault(one["index"], {"name": "", "arguments": ""})
                before["name"] += one["function"].get("name", "")
                before["arguments"] += one["function"].get("arguments", "")
    return made


def calls_of(made: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(one["name"], json.loads(one["arguments"])) for _, one in sorted(made["calls"].items())]


def test_two_calls_open_at_once_keep_their_own_arguments() -> None:
    made = assembled(
        call(0, "f"), call(1, "g"),
        arguments(0, '{"a"'), arguments(1, '{"b"'), arguments(0, ":1}"), arguments(1, ":2}"),
        end(0), end(1),
    )  # fmt: skip
    assert calls_of(made) == [("f", {"a": 1}), ("g", {"b": 2})]


@pytest.mark.parametrize("indices", [("0", "1"), (0.0, 1.0), ("a", 0), (None, 1)])
def test_an_index_of_any_type_tells_blocks_apart(indices: tuple[Any, Any]) -> None:
    first, second = indices
    made = assembled(
        call(first, "f"), call(second, "g"),
        arguments(first, '{"a"'), arguments(second, '{"b"'), arguments(first, ":1}"), arguments(second, ":2}"),
    )  # fmt: skip
    assert calls_of(made) == [("f", {"a": 1}), ("g", {"b": 2})]


def test_calls_that_end_in_another_order_keep_their_numbers() -> None:
    made = assembled(
        call(3, "f"), call(7, "g"), call(5, "h"),
        arguments(7, '{"b":2}'), end(7), arguments(3, '{"a":1}'), end(3), end(5),
    )  # fmt: skip
    assert calls_of(made) == [("f", {"a": 1}), ("g", {"b": 2}), ("h", {})]


def test_text_thinking_and_calls_may_be_open_at_once() -> None:
    made = assembled(
        begin(0, "text", text=""), begin(1, "thinking", thinking=""), call(2, "f"), begin(3, "text", text="Sec"),
        thought(1, "Hm"), arguments(2, '{"a"'), text(0, "Fir"), text(3, "ond."),
        piece(1, type="signature_delta", signature="s1"),
        end(1), text(0, "st. "), arguments(2, ":1}"), end(3), end(0), end(2),
    )  # fmt: skip
    assert made["content"] == "First. Second."
    assert made["reasoning"] == "Hm"
    assert calls_of(made) == [("f", {"a": 1})]
    (detail,) = made["details"]
    assert (detail["text"], detail["signature"], detail.get("after_text"), detail.get("after_calls")) == (
        "Hm", "s1", len("First. "), None,
    )  # fmt: skip


def test_thinking_blocks_open_at_once_stay_apart() -> None:
    made = assembled(
        begin(0, "thinking", thinking=""), begin(1, "thinking", thinking=""),
        thought(1, "two"), thought(0, "one, "), piece(1, type="signature_delta", signature="s2"), end(1),
        piece(0, type="signature_delta", signature="s1"), end(0),
    )  # fmt: skip
    assert made["reasoning"] == "one, two"
    assert [(one["text"], one["signature"]) for one in made["details"]] == [("one, ", "s1"), ("two", "s2")]


def test_a_call_streams_while_a_text_before_it_is_open() -> None:
    stream = AnthropicStream(ASKED, event_limit=1 << 16)
    stream.feed(START + begin(0, "text", text="") + call(1, "f"))
    (chunk,) = chunks(stream.feed(arguments(1, "{}")))
    assert chunk["choices"][0]["delta"]["tool_calls"][0]["function"] == {"arguments": "{}"}


@pytest.mark.parametrize("index", [None, "0", 9, -1])
def test_a_missing_or_wrong_index_means_the_only_open_block(index: Any) -> None:
    made = assembled(
        begin(0, "text", text=""),
        text(index, "Yes"),
        end(index),
        call(1, "f"),
        arguments(index, '{"a":1}'),
        end(index),
    )
    assert made["content"] == "Yes"
    assert calls_of(made) == [("f", {"a": 1})]


def test_blocks_without_any_index_come_one_after_another() -> None:
    made = assembled(
        begin(None, "text", text=""),
        text(None, "Yes"),
        call(None, "f"),
        arguments(None, '{"a":1}'),
        call(None, "g"),
    )
    assert made["content"] == "Yes"
    assert calls_of(made) == [("f", {"a": 1}), ("g", {})]


@pytest.mark.parametrize("index", [None, 9])
def test_arguments_that_may_belong_to_either_call_are_a_bad_reply(index: Any) -> None:
    stream = AnthropicStream(ASKED, event_limit=1 << 16)
    stream.feed(START + call(0, "f") + call(1, "g"))
    stream.feed(arguments(index, "{}"))
    assert stream.refusal is not None
    with pytest.raises(BadReply):
        AnthropicStream(ASKED, event_limit=1 << 16).feed(START + arguments(index, "{}"))


def test_text_without_a_block_is_passed_on() -> None:
    assert assembled(text(0, "Yes"))["content"] == "Yes"


def test_blocks_that_never_end_are_complete_with_the_stop_reason() -> None:
    made = assembled(
        begin(0, "thinking", thinking="Hm", signature="s"),
        begin(1, "text", text="a"),
        begin(2, "text", text="b"),
        call(3, "f"),
    )
    assert (made["content"], made["reasoning"]) == ("ab", "Hm")
    assert calls_of(made) == [("f", {})]
    assert [(one["text"], one["signature"]) for one in made["details"]] == [("Hm", "s")]


def test_held_text_and_thinking_are_bounded() -> None:
    for kind, more in (("text", text), ("thinking", thought)):
        stream = AnthropicStream(ASKED, event_limit=1 << 12)
        stream.feed(START + text(0, "x") + begin(0, kind) + begin(1, kind))
        for _ in range(10):
            stream.feed(more(1, "x" * 1000))
        assert stream.refusal is not None


KINDS = ("text", "thinking", "tool_use")


@given(data=st.data())
def test_any_interleaving_says_what_the_whole_message_says(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
    blocks: list[dict[str, Any]] = []
    lanes = []
    for index, kind in enumerate(kinds):
        said = data.draw(st.lists(st.text("abc", max_size=3), max_size=3))
        if kind == "tool_use":
            whole = json.dumps({"k": "".join(said)})
            cut = data.draw(st.integers(0, len(whole)))
            blocks.append(
                {"type": kind, "id": f"id-f{index}", "name": f"f{index}", "input": json.loads(whole)}
            )
            lanes.append([arguments(index, whole[:cut]), arguments(index, whole[cut:]), end(index)])
        elif kind == "text":
            blocks.append({"type": kind, "text": "".join(said)})
            lanes.append([*(text(index, one) for one in said), end(index)])
        else:
            blocks.append({"type": kind, "thinking": "".join(said), "signature": f"s{index}"})
            signed = piece(index, type="signature_delta", signature=f"s{index}")
            lanes.append([*(thought(index, one) for one in said), signed, end(index)])
    starts = [call(i, f"f{i}") if kind == "tool_use" else begin(i, kind) for i, kind in enumerate(kinds)]
    order = data.draw(
        st.permutations(list(itertools.chain(*([i] * len(lane) for i, lane in enumerate(lanes)))))
    )
    # A block begins after those before it, at the latest with its first piece.
    events, begun = [], 0
    for lane in order:
        events += starts[begun : lane + 1]
        begun = max(begun, lane + 1)
        events.append(lanes[lane].pop(0))
    made = assembled(*events)
    wanted = put_together(AnthropicStream(ASKED, event_limit=1 << 16).whole(message(*blocks)))
    assert calls_of(made) == calls_of(wanted)
    del made["calls"], wanted["calls"]
    for one in made["details"] + wanted["details"]:
        del one["model"]
    assert made == wanted


def test_many_open_blocks_take_linear_time() -> None:
    count = 4_000
    stream = AnthropicStream(ASKED, event_limit=1 << 24)
    sent = b"".join(begin(i, KINDS[i % 2]) for i in range(count))
    sent += b"".join((text if i % 2 == 0 else thought)(i, "x") for i in reversed(range(count)))
    sent += b"".join(end(i) for i in reversed(range(count)))
    begun = time.process_time()
    out = stream.feed(START + sent + DELTA + END)
    assert time.process_time() - begun < 4
    assert put_together(out)["content"] == "x" * (count // 2)
