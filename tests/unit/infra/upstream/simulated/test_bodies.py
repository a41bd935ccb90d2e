"""Embeddings and responses of the simulated provider, checked with the types of OpenAI's SDK."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from llm_gateway.infra.upstream.simulated.bodies import embeddings, response, response_events

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def vectors(**body: Any) -> list[Any]:
    return [item["embedding"] for item in embeddings({"model": "m", **body})["data"]]


def test_embeddings_have_the_type_of_openais_sdk() -> None:
    reply = CreateEmbeddingResponse.model_validate(
        embeddings({"model": "m", "input": ["a", "b"]}), strict=True
    )
    assert [item.index for item in reply.data] == [0, 1]
    assert reply.model == "m"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens > 0


@pytest.mark.parametrize(
    ("given", "count"),
    [("a", 1), (["a"], 1), (["a", "b", "a"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([], 1), (None, 1)],
)
def test_each_input_has_a_vector(given: Any, count: int) -> None:
    assert len(vectors(input=given)) == count


def test_a_vector_depends_on_its_input_alone() -> None:
    first, second, third = vectors(input=["a", "b", "a"])
    assert first == third != second
    assert vectors(input="a", model="other") == [first]
    assert all(-1 <= number < 1 for number in first)


@pytest.mark.parametrize(("dimensions", "length"), [(None, 8), (3, 3), ("5", 5), (10_000, 4096)])
def test_dimensions(dimensions: Any, length: int) -> None:
    assert len(vectors(input="a", dimensions=dimensions)[0]) == length


def test_base64_packs_the_same_numbers() -> None:
    [plain] = vectors(input="a")
    [packed] = vectors(input="a", encoding_format="base64")
    assert list(struct.unpack("<8f", base64.b64decode(packed))) == plain


@pytest.mark.parametrize(
    ("cut_short", "status", "reason"), [(False, "completed", None), (True, "incomplete", "max_output_tokens")]
)
def test_a_response_has_the_type_of_openais_sdk(cut_short: bool, status: str, reason: str | None) -> None:
    body = {"model": "m", "input": "hello", "instructions": "Be brief.", "metadata": {"a": "b"}}
    reply = Response.model_validate(response(body, ["one", "two"], cut_short=cut_short))
    assert (reply.status, reply.output_text, reply.instructions) == (status, "one two", "Be brief.")
    assert (reply.incomplete_details and reply.incomplete_details.reason) == reason
    assert reply.metadata == {"a": "b"}
    assert reply.usage is not None
    assert reply.usage.output_tokens == 2
    assert reply.usage.total_tokens == reply.usage.input_tokens + 2


@pytest.mark.parametrize("cut_short", [False, True])
def test_the_events_of_a_response_add_up_to_it(cut_short: bool) -> None:
    whole = response({"model": "m", "input": "hello"}, ["one", "two", "three"], cut_short=cut_short)
    events = list(response_events(whole, ["one", "two", "three"]))
    for number, event in enumerate(events):
        EVENT.validate_python({**event, "sequence_number": number})
    assert "".join(event["delta"] for event in events if event["type"].endswith(".delta")) == "one two three"
    first, *_, last = events
    assert first["response"]["status"] == "in_progress"
    assert first["response"]["output"] == []
    assert last == {"type": f"response.{whole['status']}", "response": whole}


def test_a_response_without_words_has_no_deltas() -> None:
    whole = response({}, [], cut_short=True)
    assert not [event for event in response_events(whole, []) if event["type"].endswith(".delta")]
