"""The query gateway's dialects: a query becomes a chat with one message, its answer an object with a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import BadRequest, GatewayError
from llm_gateway.core.model_families import FAMILIES
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import DONE
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import (
    NO_ATTRIBUTION,
    Attribution,
    CostHeaders,
    Dialect,
    Headers,
    IncomingCall,
    PresentedKey,
    ReplyFacts,
    StreamEncoder,
)
from llm_gateway.flow.ports.query_log import LoggedQuery, QueryLog
from llm_gateway.flow.request.admission import authenticate, current_snapshot
from llm_gateway.flow.request.handling import strip_prefix
from llm_gateway.http.auth import presented_key
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.query.bodies import Query
from llm_gateway.surfaces.query.choosing import ModelChoice, ModelChooser
from llm_gateway.surfaces.query.errors import JSON_HEADERS, QueryErrors, error_fields
from llm_gateway.surfaces.query.estimates import dry_run, whole_estimate
from llm_gateway.surfaces.query.families import FamilyIndex
from llm_gateway.surfaces.query.replies import QueryAnswer, QueryStreamEncoder
from llm_gateway.surfaces.translating.chat import chat_request, sse_event

# Tokens that an answer may have if its query has a ceiling of the cost and says nothing of the length: without a
# limit there is no most that it can cost.
ANSWER_LIMIT: Final = 4096
# Values of `x-llm-gateway-cache` that ask for cached answers.
_CACHING: Final = frozenset({"on", "refresh"})
_NO_COST_HEADERS: Final = CostHeaders()
_encode = msgspec.json.Encoder().encode

_EncodeEstimate = Callable[[dict[str, Any], Query, ModelChoice, str], dict[str, Any]]


class _QueryFormat(QueryErrors, Dialect):
    """What all dialects of this surface have in common."""

    reply_headers: Headers = JSON_HEADERS
    stream_headers: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"),)
    stream_end = DONE
    max_cost_name = "max_cost_usd"

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey | None:
        return presented_key(headers)

    def encode_reply(self, request: ModelRequest, body: bytes, facts: ReplyFacts) -> bytes:
        """Return the reply unchanged: only the dialect of a request knows what its client asked."""
        del request, facts
        return body

    def open_stream(self, request: ModelRequest, deployment: Deployment | None) -> StreamEncoder | None:
        del request, deployment
        return None

    def stream_error(self, error: GatewayError, tail: StreamTail) -> bytes:
        """Return an error event; no [DONE] follows it."""
        del tail
        return sse_event(error_fields(error, self.client_request_id))


class QueryDialect(_QueryFormat):
    """The dialect of a route: reads queries, chooses their models, and gives each call a dialect of its own."""

    def __init__(
        self,
        gateway: Gateway,
        read_body: Callable[[bytes], Query],
        *,
        is_detailed: bool = False,
        is_estimate: bool = False,
        log: QueryLog | None = None,
    ) -> None:
        """`is_detailed`: answers have costs and metrics. `is_estimate`: queries are estimated, and never sent."""
        self._gateway = gateway
        self._read_body = read_body
        self._is_detailed = is_detailed
        self._encode_estimate: _EncodeEstimate = whole_estimate if is_estimate else dry_run
        self._log = log
        # Of the snapshot in force, or of the last one.
        self._families: FamilyIndex | None = None

    def read(self, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
        """Parse a query and choose its models; raise BadRequest that names the field, or ModelNotFound."""
        query = self._read_body(body)
        call.client_request_id = call.client_request_id or query.request_id
        # For the errors of what follows.
        numbered = call.dialect = _NumberedQuery(query.request_id or call.client_request_id)
        gateway = self._gateway
        prefix = gateway.options.provider_suffix
        if prefix:
            short = strip_prefix(query.model or "", prefix)
            # Other names lose it later, and only once.
            if short in FAMILIES:
                query = msgspec.structs.replace(query, model=short)
        snapshot = current_snapshot(gateway, admitted=True)
        account = authenticate(gateway, snapshot, call.api_key)
        if self._is_detailed:
            call.cost_headers = _cost_headers(query, call.cost_headers)
        # The one in force, wherever it was sent. A header's is checked later.
        ceiling = None if call.cost_headers is None else call.cost_headers.max_cost_usd
        has_ceiling = ceiling is not None
        query = msgspec.structs.replace(query, max_cost_usd=ceiling)
        families = self._families
        if families is None or families.snapshot is not snapshot:
            families = self._families = FamilyIndex(snapshot)
        chooser = ModelChooser(families, account, call.created_at, needs_prices=has_ceiling)
        choice = chooser.choose(query)
        if prefix:
            # The names without it are those that the answer is compared with.
            choice = msgspec.structs.replace(
                choice,
                asked=strip_prefix(choice.asked, prefix),
                labels={strip_prefix(model, prefix): label for model, label in choice.labels.items()},
            )
        if self._log is not None:
            self._log.query(
                LoggedQuery(
                    created_at=call.created_at,
                    request_id=call.request_id,
                    client_request_id=call.client_request_id,
                    model=choice.model,
                    task_type=query.task_type,
                    query=query.text,
                )
            )
        request_id = numbered.client_request_id or call.request_id
        if call.cache_directive is None and gateway.options.cache_enabled:
            call.cache_directive = "on"
        answer = QueryAnswer(
            query,
            choice,
            request_id,
            is_detailed=self._is_detailed,
            uses_cache=call.cache_directive in _CACHING,
        )
        answered = call.dialect = _AnsweredQuery(query, choice, request_id, answer, self._encode_estimate)
        if self._is_detailed:
            answered.take_estimate = answered.note_estimate
        attribution = NO_ATTRIBUTION if query.tenant is None else Attribution(tenant=query.tenant)
        return _request(query, choice, has_ceiling=has_ceiling), attribution


class _NumberedQuery(_QueryFormat):
    """The dialect of a query whose body was read, and whose model is still to be chosen."""

    def __init__(self, client_request_id: str | None) -> None:
        self.client_request_id = client_request_id

    def read(self, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
        del body, call
        message = "the body of this call was read before"
        raise RuntimeError(message)


class _AnsweredQuery(_NumberedQuery):
    """The dialect of one query."""

    def __init__(
        self,
        query: Query,
        choice: ModelChoice,
        request_id: str,
        answer: QueryAnswer,
        encode_estimate: _EncodeEstimate,
    ) -> None:
        super().__init__(request_id)
        self._query = query
        self._choice = choice
        self._request_id = request_id
        self._answer = answer
        self._encode = encode_estimate

    def note_estimate(self, estimate: dict[str, object]) -> None:
        self._answer.estimate = estimate

    def encode_estimate(self, request: ModelRequest, estimate: dict[str, object]) -> bytes:
        del request
        return _encode(self._encode(estimate, self._query, self._choice, self._request_id))

    def encode_reply(self, request: ModelRequest, body: bytes, facts: ReplyFacts) -> bytes:
        del request
        return self._answer.whole(body, facts)

    def open_stream(self, request: ModelRequest, deployment: Deployment | None) -> StreamEncoder:
        del request, deployment
        return QueryStreamEncoder(self._answer)


def _request(query: Query, choice: ModelChoice, *, has_ceiling: bool) -> ModelRequest:
    limit = ANSWER_LIMIT if query.max_tokens is None and has_ceiling else query.max_tokens
    request = chat_request(
        choice.model,
        [{"role": "user", "content": query.text}],
        {"max_completion_tokens": limit, "temperature": query.temperature},
        stream=query.is_streamed,
    )
    request.fallbacks = choice.fallbacks
    request.variant = _encode([query.task_type, query.model_version]).decode()
    return request


def _cost_headers(query: Query, sent: CostHeaders | None) -> CostHeaders:
    """Return what the query and the headers say of its cost; raise BadRequest if both have a ceiling."""
    headers = sent or _NO_COST_HEADERS
    ceiling = query.max_cost_usd
    if ceiling is not None and headers.max_cost_usd is not None:
        message = "A ceiling of the cost was sent in the body and in a header; send 'max_cost_usd' alone."
        raise BadRequest(message, param="max_cost_usd")
    return msgspec.structs.replace(
        headers,
        dry_run="true" if query.is_dry_run else headers.dry_run,
        max_cost_usd=headers.max_cost_usd if ceiling is None else ceiling,
        expected_completion_tokens=query.expected_response_tokens,
        may_shorten=query.max_tokens is None,
    )
