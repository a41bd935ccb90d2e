"""Usage of the Responses API, and a whole response written as the events of a stream."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.usage import CompletionDetails, PromptDetails
from llm_gateway.wire.openai_responses.responses import (
    ResponsesUsage,
    event_bytes,
    response_as_events,
    responses_usage,
)


def events(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a response; each event's name must be its type."""
    found = []
    for event in response_as_events(json.dumps(body).encode()).split(b"\n\n")[:-1]:
        name, data = event.split(b"\ndata: ")
        found.append(msgspec.json.decode(data))
        assert name.decode() == f"event: {found[-1]['type']}"
    return found


def test_usage_is_read_under_this_apis_names() -> None:
    wire = ResponsesUsage(
        input_tokens=5,
        output_tokens=4,
        total_tokens=9,
        input_tokens_details=PromptDetails(cached_tokens=2),
        output_tokens_details=CompletionDetails(reasoning_tokens=1),
    )
    assert responses_usage(wire) == Usage(
        prompt_tokens=5, completion_tokens=4, total_tokens=9, cached_tokens=2, reasoning_tokens=1
    )


@pytest.mark.parametrize(
    "wire", [None, [], "none", 5, True, ResponsesUsage(), ResponsesUsage(input_tokens=-1)]
)
def test_usage_without_credible_counts_states_nothing(wire: Any) -> None:
    assert responses_usage(wire) is None


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (ResponsesUsage(input_tokens=-1, output_tokens=2), StatedUsage(None, 2)),
        (ResponsesUsage(output_tokens=25), StatedUsage(None, 25)),
        (ResponsesUsage(input_tokens=0, output_tokens=0, total_tokens=0), StatedUsage(0, 0, 0)),
        (ResponsesUsage(input_tokens=5.0, output_tokens="4", input_tokens_details=[]), Usage(5, 4, 9)),
    ],
)
def test_each_count_of_a_response_is_judged_by_itself(
    wire: ResponsesUsage, expected: Usage | StatedUsage
) -> None:
    assert responses_usage(wire) == expected


def test_a_message_becomes_numbered_events_around_its_text() -> None:
    part = {"type": "output_text", "text": "Hi", "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    body = {"id": "resp_1", "status": "completed", "output": [item], "usage": {"input_tokens": 1}}
    found = events(body)
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in found] == list(range(8))
    created = found[0]["response"]
    assert (created["id"], created["status"], created["output"]) == ("resp_1", "in_progress", [])
    assert created["usage"] is None
    assert found[1]["item"] == {**item, "status": "in_progress", "content": []}
    assert found[2]["part"] == {**part, "text": ""}
    place = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
    assert found[3] == {
        "type": "response.output_text.delta", **place, "logprobs": [], "delta": "Hi", "sequence_number": 3,
    }  # fmt: skip
    assert (found[4]["text"], found[5]["part"], found[6]["item"]) == ("Hi", part, item)
    assert found[-1]["response"] == body


def test_a_function_call_is_added_without_its_arguments() -> None:
    call = {"type": "function_call", "id": "fc_1", "name": "f", "arguments": '{"a":1}'}
    found = events({"output": [call]})
    assert found[1]["item"] == {**call, "status": "in_progress", "arguments": ""}
    assert (found[2]["type"], found[2]["delta"]) == ("response.function_call_arguments.delta", '{"a":1}')
    assert (found[3]["type"], found[3]["arguments"]) == ("response.function_call_arguments.done", '{"a":1}')
    assert found[4]["item"] == call


def test_a_refusal_and_unknown_items_are_written_whole() -> None:
    refusal = {"type": "refusal", "refusal": "No."}
    search = {"type": "web_search_call", "id": "ws_1"}
    found = events({"output": [{"type": "message", "content": [refusal]}, search]})
    parts = [event["part"] for event in found if "part" in event]
    assert parts == [refusal, refusal]
    assert [event["item"]["type"] for event in found if "item" in event] == ["message"] * 2 + [
        "web_search_call"
    ] * 2
    assert found[-2]["output_index"] == 1


@pytest.mark.parametrize(
    ("status", "last"),
    [
        (None, "response.completed"),
        ("completed", "response.completed"),
        ("incomplete", "response.incomplete"),
        ("failed", "response.failed"),
    ],
)
def test_the_last_event_says_how_the_response_ended(status: str | None, last: str) -> None:
    assert events({"status": status, "output": []})[-1]["type"] == last


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b"[]", b"nonsense", b"\xff", b'{"output":[5]}', b'{"output":null}',
        # A response that is not there yet.
        b'{"status":"queued","output":[]}',
    ],
)  # fmt: skip
def test_json_that_is_no_finished_response_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        response_as_events(body)


def test_an_event_has_its_type_as_its_name() -> None:
    assert event_bytes({"type": "error", "code": "é"}) == (
        'event: error\ndata: {"type":"error","code":"é"}\n\n'.encode()
    )
