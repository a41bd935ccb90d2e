"""The fields of answers, whole and streamed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import UpstreamTimedOut
from llm_gateway.core.ledger.usage import Usage, UsageSource
from llm_gateway.providers.base import NO_TAIL
from llm_gateway.surfaces.query.bodies import Query
from llm_gateway.surfaces.query.choosing import ModelChoice
from llm_gateway.surfaces.query.replies import QueryAnswer, QueryStreamEncoder
from tests.fakes.reply_facts import StatedFacts

CHOICE = ModelChoice("gpt-4o", "openai", ("sonnet",), {"gpt-4o": "openai", "sonnet": "claude"})
BODY = b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"length"}]}'
USAGE = Usage(9, 4, 13, cached_tokens=2, reasoning_tokens=1)


def answer_of(*, is_detailed: bool = True, uses_cache: bool = True, **fields: Any) -> QueryAnswer:
    return QueryAnswer(
        Query(text="x", **fields), CHOICE, "mine", is_detailed=is_detailed, uses_cache=uses_cache
    )


def whole(facts: StatedFacts, **options: Any) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(answer_of(**options).whole(BODY, facts))
    return fields


def test_s3_19_the_model_is_the_client_s_name_of_it() -> None:
    fields = whole(StatedFacts(model="gpt-4o", usage=USAGE))
    assert (fields["response"], fields["finish_reason"]) == ("hi", "length")
    assert (fields["model"], fields["model_version"], fields["original_model"]) == ("openai", "up", None)
    fields = whole(StatedFacts(model="sonnet", usage=USAGE, attempts=2))
    assert (fields["model"], fields["original_model"], fields["num_retries"]) == ("claude", "openai", 1)
    fields = whole(StatedFacts(model="other", upstream_model=None))
    assert (fields["model"], fields["model_version"]) == ("other", "other")


@pytest.mark.parametrize(
    ("source", "told"),
    [("provider", "provider"), ("counted", "estimated"), ("provider/estimated", "estimated")],
)
def test_s3_26_tokens_come_from_the_provider_or_are_estimated(source: UsageSource, told: str) -> None:
    fields = whole(StatedFacts(usage=msgspec.structs.replace(USAGE, source=source)))
    assert fields["token_source"] == told
    assert (
        fields["input_tokens"],
        fields["output_tokens"],
        fields["total_tokens"],
        fields["num_tokens"],
    ) == (
        9,
        4,
        13,
        13,
    )
    assert whole(StatedFacts())["num_tokens"] is None


def test_s3_21_costs_are_numbers_or_null_with_a_reason() -> None:
    body = answer_of(tenant="t").whole(BODY, StatedFacts(usage=USAGE, cost_nano_usd=1_000_000_001))
    assert b'"cost_usd":1.000000001,' in body
    fields = whole(StatedFacts(usage=USAGE, unpriced="unknown_model"), tenant="t")
    assert (fields["cost_usd"], fields["unpriced"], fields["tenant"]) == (None, "unknown_model", "t")
    assert fields["cost_estimate"] is None
    assert "cost_usd" not in whole(StatedFacts(usage=USAGE), is_detailed=False)


def test_s3_21_metrics() -> None:
    metrics = whole(StatedFacts(usage=USAGE))["metrics"]
    assert metrics == {
        "latency_ms": 1234.5,
        "upstream_latency_ms": 1200.0,
        "gateway_latency_ms": 34.5,
        "attempts": 1,
        "cache": "miss",
        "cached_input_tokens": 2,
        "reasoning_tokens": 1,
    }
    assert whole(StatedFacts(usage=USAGE), uses_cache=False)["metrics"]["cache"] == "off"
    cached = whole(StatedFacts(is_cached=True, upstream_latency_ms=None))
    assert (cached["cached"], cached["metrics"]["cache"], cached["metrics"]["gateway_latency_ms"]) == (
        True,
        "hit",
        1234.5,
    )
    assert (cached["response_time_ms"], cached["timestamp"]) == (1234, "2025-06-15T15:06:40.000Z")


def test_a_stream_has_the_texts_then_the_fields() -> None:
    encoder = QueryStreamEncoder(answer_of())
    events = (
        b'data: {"choices":[{"index":0,"delta":{"content":"h"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"i"},"finish_reason":"stop"}]}\n\n'
    )
    assert encoder.feed(events) == b'data: {"response":"h"}\n\ndata: {"response":"i"}\n\n'
    last, done = encoder.end(StatedFacts(usage=USAGE)).split(b"\n\n")[:2]
    fields = msgspec.json.decode(last[6:])
    assert (fields["response"], fields["finish_reason"], fields["total_tokens"]) == ("", "stop", 13)
    assert done == b"data: [DONE]"


def test_s3_11_a_failed_stream_ends_with_the_error() -> None:
    last = QueryStreamEncoder(answer_of()).fail(UpstreamTimedOut("Late."), NO_TAIL, StatedFacts())
    assert last.startswith(b'data: {"error":"The model took too long')
    assert b"[DONE]" not in last
    assert msgspec.json.decode(last[6:])["request_id"] == "mine"
