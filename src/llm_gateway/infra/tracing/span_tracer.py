"""Makes spans of requests and attempts; their ends come from the facts that the journal and observers get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanKind,
    Status,
    StatusCode,
    set_span_in_context,
)

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.records import AttemptBegun, AttemptEnded, UsageRecord, finished_at, last_attempt
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.ledger import Journal, Observer, OnKept, Tracer
from llm_gateway.flow.ports.listeners import listener_failed, notify
from llm_gateway.infra.tracing import attribute_names as names
from llm_gateway.infra.tracing.prompts import input_messages
from llm_gateway.infra.tracing.span_attributes import Attributes, attempt_begun, attempt_ended, request_ended
from llm_gateway.infra.tracing.trace_headers import read_parent, with_parent

_FAILED = frozenset({"error", "interrupted"})


class _OpenTrace:
    """The spans of a request that is open: its own, and by number those of attempts, with their starts."""

    __slots__ = ("attempts", "context", "ended", "server")

    def __init__(self, server: Span) -> None:
        self.server = server
        self.context = set_span_in_context(server, Context())
        self.attempts: dict[int, tuple[Span, int]] = {}
        # The attempts whose ends were journalled.
        self.ended: set[int] = set()


class SpanTracer(Tracer, Observer):
    """A SERVER span for each request, without usage, and below it a CLIENT span with usage for each attempt.

    Whoever adds up a trace's tokens or costs therefore counts each of them once. All times are those of the ledger.
    """

    def __init__(
        self, spans: trace.Tracer, *, links_parents: bool = False, shows_prompts: bool = False
    ) -> None:
        """With `links_parents` a request begins a trace of its own, with a link to the one that its client named."""
        self._spans = spans
        self._links_parents = links_parents
        self._shows_prompts = shows_prompts
        self._open: dict[str, _OpenTrace] = {}

    def begin(
        self, request_id: str, method: str, path: str, created_at: int, headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        notify(self._begin, request_id, method, path, created_at, headers)

    def _begin(
        self, request_id: str, method: str, path: str, created_at: int, headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        parent, context, links = read_parent(headers), Context(), []
        if parent is not None and self._links_parents:
            links = [Link(parent)]
        elif parent is not None:
            context = set_span_in_context(NonRecordingSpan(parent), context)
        server = self._spans.start_span(
            f"{method} {path}",
            context,
            SpanKind.SERVER,
            {names.METHOD: method, names.ROUTE: path, names.REQUEST_ID: request_id},
            links,
            created_at * 1000,
        )
        self._open[request_id] = _OpenTrace(server)

    def attempt(
        self,
        request_id: str,
        number: int,
        started_at: int,
        request: ModelRequest,
        deployment: Deployment,
        forwarded: Mapping[str, str],
    ) -> Mapping[str, str]:
        try:
            return self._attempt(request_id, number, started_at, request, deployment, forwarded)
        except Exception as error:  # noqa: BLE001 - a request is answered although it could not be traced
            listener_failed(self.attempt, error)
            return forwarded

    def _attempt(
        self,
        request_id: str,
        number: int,
        started_at: int,
        request: ModelRequest,
        deployment: Deployment,
        forwarded: Mapping[str, str],
    ) -> Mapping[str, str]:
        opened = self._open.get(request_id)
        if opened is None:
            return forwarded
        attributes = attempt_begun(request_id, number, request, deployment)
        name = f"{names.OPERATIONS[request.endpoint]} {deployment.upstream_model}"
        span = self._spans.start_span(
            name, opened.context, SpanKind.CLIENT, attributes, start_time=started_at * 1000
        )
        if self._shows_prompts and span.is_recording() and (prompt := input_messages(request)) is not None:
            span.set_attribute(names.INPUT_MESSAGES, prompt)
        # A span of the same number, of which nothing was sent, is left out: only spans that end are exported.
        opened.attempts[number] = span, started_at
        return with_parent(forwarded, span.get_span_context())

    def attempt_ended(self, ended: AttemptEnded) -> None:
        """Take note of a journalled attempt."""
        opened = self._open.get(ended.request_id)
        if opened is not None:
            opened.ended.add(ended.attempt)
            self._end(opened, ended)

    def attempt_failed(self, failed: AttemptEnded) -> None:
        """Do nothing: the journal has failures that observers are not told of, and with their usage."""

    def finished(self, record: UsageRecord) -> None:
        opened = self._open.pop(record.request_id, None)
        if opened is None:
            return
        last = last_attempt(record)
        if last is not None and last.attempt not in opened.ended:
            self._end(opened, last)
        server = opened.server
        server.set_attributes(request_ended(record))
        # A 4xx is an error of the client, and by the conventions none of the server's span.
        if record.status_code >= 500 or (record.outcome in _FAILED and record.status_code < 400):
            server.set_status(Status(StatusCode.ERROR))
        server.end(max(finished_at(record), record.created_at) * 1000)

    def _end(self, opened: _OpenTrace, ended: AttemptEnded) -> None:
        if ended.attempt in opened.attempts:
            span, started_at = opened.attempts.pop(ended.attempt)
        else:
            span, started_at = self._unsent(opened, ended), ended.started_at
        span.set_attributes(attempt_ended(ended))
        if ended.outcome in _FAILED:
            span.set_status(Status(StatusCode.ERROR, ended.detail))
        span.end((started_at + round((ended.latency_ms or 0.0) * 1000)) * 1000)

    def _unsent(self, opened: _OpenTrace, ended: AttemptEnded) -> Span:
        """Return a span for an attempt that ended before its request was sent, as without an access token."""
        attributes: Attributes = {
            names.REQUEST_ID: ended.request_id,
            names.ATTEMPT: ended.attempt,
            names.PROVIDER_KEY: ended.provider,
            names.REQUEST_MODEL: ended.upstream_model,
            names.MODEL: ended.model,
        }
        return self._spans.start_span(
            f"attempt {ended.upstream_model}",
            opened.context,
            SpanKind.CLIENT,
            attributes,
            start_time=ended.started_at * 1000,
        )


class TracedJournal(Journal):
    """A journal that also tells a tracer of every attempt that ended."""

    def __init__(self, journal: Journal, tracer: SpanTracer) -> None:
        self._journal = journal
        self._tracer = tracer

    def begin(self, attempt: AttemptBegun) -> None:
        self._journal.begin(attempt)

    def begin_with_writes(self, attempt: AttemptBegun) -> None:
        self._journal.begin_with_writes(attempt)

    @property
    def has_waiting(self) -> bool:
        return self._journal.has_waiting

    def write_waiting(self) -> None:
        self._journal.write_waiting()

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        self._journal.attempt_ended(attempt)
        notify(self._tracer.attempt_ended, attempt)

    def end(self, record: UsageRecord) -> None:
        self._journal.end(record)

    def end_with_writes(self, record: UsageRecord, on_kept: OnKept | None = None) -> None:
        self._journal.end_with_writes(record, on_kept)
