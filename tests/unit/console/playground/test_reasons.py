"""Why a provider answered."""

from __future__ import annotations

from typing import Any

from llm_gateway.console.playground.reasons import reasons
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.explain.answer import Explanation, Question
from llm_gateway.flow.explain.explainer import explain
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream, provider
from tests.fakes.routing import model
from tests.fakes.usage_records import failed_attempt


def record(**changes: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "request_id": "1",
        "created_at": 1,
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "stream": True,
        "status_code": 200,
        "outcome": "ok",
        "provider": "a",
        "model": "m",
        "attempts": 1,
        **changes,
    }
    return UsageRecord(**values)


def explanation(*providers: Any, **rules: Any) -> Explanation:
    bench = FakeGateway(
        *providers, upstream=ScriptedUpstream(), models=(model("m", **rules),), credentials=()
    )
    return explain(bench.gateway, Question(model="m"))


def test_the_only_provider() -> None:
    told = reasons(record(), [], "m", explanation(provider("a")))
    assert told == ["a is the only provider that takes requests for m."]


def test_one_of_several_by_its_share_of_the_weight() -> None:
    both = explanation(provider("a", weight=3), provider("b", 2, weight=1), affinity="user")
    assert reasons(record(), [], "m", both) == [
        "2 providers take requests for m, in turn, by weight: a has 75.0 % of the weight.",
        "Requests with the same user prefer the provider that served the last one.",
    ]


def test_who_is_left_out_and_why() -> None:
    told = reasons(record(), [], "m", explanation(provider("a"), provider("b", 2, is_enabled=False)))
    assert told[-1] == "b is left out: disabled."


def test_what_failed_before() -> None:
    failures = [
        failed_attempt("1", provider="b", status=503, reason="status", next_step="failover"),
        failed_attempt("1", provider="c", status=None, reason="connect", next_step="fallback"),
        failed_attempt("1", provider="a", status=200, reason=None, next_step=None),
    ]
    assert reasons(record(model="m"), failures, "asked", None) == [
        "b failed with 503; another provider was tried.",
        "c failed (could not connect); another model was tried.",
        "m answered as a fallback of asked.",
    ]


def test_no_provider() -> None:
    assert reasons(record(provider=None, outcome="rejected"), [], "m", None) == [
        "No provider was asked: the gateway refused the request."
    ]


def test_the_reply_cache() -> None:
    assert reasons(record(cache_hit=True), [], "m", explanation(provider("a"))) == [
        "The answer is from the reply cache; a gave it first. No provider was asked."
    ]


def test_a_configuration_that_has_changed_since_says_nothing_of_the_provider() -> None:
    assert reasons(record(provider="gone"), [], "m", explanation(provider("a"))) == []
