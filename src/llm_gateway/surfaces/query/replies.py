"""Answers to queries: the fields that whole answers and the last events of streams have."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llm_gateway.core.errors import GatewayError
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.sse import DONE
from llm_gateway.core.times import iso_milliseconds
from llm_gateway.flow.ports.dialect import ReplyFacts, StreamEncoder
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.query.bodies import Query
from llm_gateway.surfaces.query.choosing import ModelChoice
from llm_gateway.surfaces.query.errors import error_fields
from llm_gateway.surfaces.query.estimates import cost_estimate, usd
from llm_gateway.surfaces.translating.chat import reply_text, sse_event, stream_texts

_NO_USAGE: Final[dict[str, Any]] = {
    "num_tokens": None,
    "input_tokens": None,
    "output_tokens": None,
    "total_tokens": None,
    "token_source": None,
}
_encode = msgspec.json.Encoder().encode


class QueryAnswer:
    """The answer to one query. `is_detailed`: with the cost and the metrics, as /v1/gateway/query has them."""

    def __init__(
        self, query: Query, choice: ModelChoice, request_id: str, *, is_detailed: bool, uses_cache: bool
    ) -> None:
        """`request_id` is the client's, or else the gateway's. `uses_cache`: cached answers are asked for."""
        self._query = query
        self._choice = choice
        self._request_id = request_id
        self._is_detailed = is_detailed
        self._uses_cache = uses_cache
        # What the query was estimated to cost, with the fields of `cost_headers.shown`.
        self.estimate: dict[str, Any] | None = None

    def whole(self, body: bytes, facts: ReplyFacts) -> bytes:
        """Return a whole answer from a canonical reply."""
        reply = reply_text(body)
        return _encode({"response": reply.content, **self.fields(facts, reply.finish_reason)})

    def fields(self, facts: ReplyFacts, finish_reason: str | None) -> dict[str, Any]:
        """Return everything that an answer has beside its text."""
        choice = self._choice
        model = choice.label(facts.model)
        fields: dict[str, Any] = {
            "model": model,
            "model_version": facts.upstream_model or facts.model,
            # Whom another model answered for.
            "original_model": None if model == choice.asked else choice.asked,
            "provider": facts.provider,
            "task_type": self._query.task_type,
            **(_NO_USAGE if facts.usage is None else _tokens(facts.usage)),
            "response_time_ms": round(facts.latency_ms),
            "num_retries": max(facts.attempts - 1, 0),
            "cached": facts.is_cached,
            "finish_reason": finish_reason,
            "timestamp": iso_milliseconds(facts.created_at),
            "request_id": self._request_id,
        }
        if self._is_detailed:
            fields["tenant"] = self._query.tenant
            fields["cost_usd"] = usd(facts.cost_nano_usd)
            fields["unpriced"] = facts.unpriced
            fields["cost_estimate"] = None if self.estimate is None else cost_estimate(self.estimate)
            fields["metrics"] = _metrics(facts, uses_cache=self._uses_cache)
        return fields

    def error(self, error: GatewayError) -> dict[str, Any]:
        """Return what a stream that failed ends with."""
        return error_fields(error, self._request_id)


class QueryStreamEncoder(StreamEncoder):
    """Makes events of an answer's parts; the last one has the fields of a whole answer."""

    def __init__(self, answer: QueryAnswer) -> None:
        self._answer = answer
        self._finish_reason: str | None = None

    def feed(self, events: bytes) -> bytes:
        parts = []
        for text in stream_texts(events):
            self._finish_reason = text.finish_reason or self._finish_reason
            if text.content:
                parts.append(sse_event({"response": text.content}))
        return b"".join(parts)

    def end(self, facts: ReplyFacts) -> bytes:
        return sse_event({"response": "", **self._answer.fields(facts, self._finish_reason)}) + DONE

    def fail(self, error: GatewayError, tail: StreamTail, facts: ReplyFacts) -> bytes:
        """End with the error, and without [DONE]."""
        del tail, facts
        return sse_event(self._answer.error(error))


def _tokens(usage: Usage) -> dict[str, Any]:
    return {
        "num_tokens": usage.total_tokens,
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        # Clients of the query gateway know these two alone; the usage row tells more.
        "token_source": "provider" if usage.source == "provider" else "estimated",
    }


def _metrics(facts: ReplyFacts, *, uses_cache: bool) -> dict[str, Any]:
    usage, upstream = facts.usage, facts.upstream_latency_ms
    return {
        "latency_ms": facts.latency_ms,
        "upstream_latency_ms": upstream,
        "gateway_latency_ms": round(facts.latency_ms - (upstream or 0.0), 3),
        "attempts": facts.attempts,
        "cache": "hit" if facts.is_cached else "miss" if uses_cache else "off",
        "cached_input_tokens": None if usage is None else usage.cached_tokens,
        "reasoning_tokens": None if usage is None else usage.reasoning_tokens,
    }
