"""Meters a request that is served directly: what it has in common with others is encoded once for all of them."""

from __future__ import annotations

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.priced import PricedUsage
from llm_gateway.core.ledger.records import Outcome
from llm_gateway.core.ledger.served import OK, KnownFacts, ServedRequest
from llm_gateway.core.ledger.served_lines import begin_line, end_line, temperature_member
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.accounting.meter import AT_ONCE, Meter
from llm_gateway.flow.accounting.pricing import price_usage
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION
from llm_gateway.flow.ports.limits import NOTHING_HELD


class DirectMeter(Meter):
    """A meter that reports a request which ends well by its first attempt as a `ServedRequest`.

    Observers are told of it once the writes of this turn have been made; they are told of any other request at once.
    """

    __slots__ = ()

    def attempt_known(self, known: KnownFacts, deployment: Deployment, now: float) -> None:
        """Do what `attempt` does with `with_writes`; `known` is what is known of such requests to `deployment`."""
        call = self.call
        client = call.client
        if (
            client is None
            # A dialect may take the id from the body.
            or client.request_id is not call.client_request_id
            or self.attempts
            or self.requested_tier is not None
            or call.attribution is not NO_ATTRIBUTION
        ):
            self.attempt(deployment, now, with_writes=True)
            return
        self.attempts = 1
        self._known = known
        self._deployment = deployment
        self._upstream_started = now
        waited = now - call.started
        request_id = call.request_id
        started_at = None
        if waited >= AT_ONCE:
            started_at = self._started_at = call.created_at + int(waited * 1e6)
        self._gateway.journal.begin_known(
            request_id,
            begin_line(
                request_id, call.created_at, known.begin, client.members, call.request_bytes, started_at
            ),
        )

    def report(
        self, outcome: Outcome, status: int, *, error_type: str | None = None, usage: Usage | None = None
    ) -> None:
        known, call = self._known, self.call
        client = call.client
        if (
            known is None
            or client is None
            or usage is None
            or usage.details is not None
            or outcome != "ok"
            or status != OK
            or self.attempts != 1
            or self.reported
        ):
            Meter.report(self, outcome, status, error_type=error_type, usage=usage)
            return
        deployment, started, gateway = self._deployment, self._upstream_started, self._gateway
        if deployment is None or started is None:
            raise AssertionError("what is known was known before the attempt")
        prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
        cached, reasoning, written = usage.cached_tokens, usage.reasoning_tokens, usage.cache_write_tokens
        prices, of_prompt, of_completion = deployment.prices, None, None
        if (
            prices is not None
            and (plain := prices.plain) is not None
            and not (cached or reasoning or written)
            and total
            and 0 < prompt <= plain.most_input
            and completion > 0
        ):
            # As `price_usage` does for most requests, without its frame, and without a dictionary.
            of_prompt, of_completion = prompt * plain.input, completion * plain.output
            cost = PricedUsage(of_prompt + of_completion, plain.source, None, None, plain.version)
        else:
            cost = price_usage(usage, deployment, call.created_at)
        created_at, now = call.created_at, gateway.clock.monotonic()
        latency = int((now - call.started) * 1e6 + 0.5)
        upstream = int(((self._upstream_ended or now) - started) * 1e6 + 0.5)
        first_token = None
        if self._first_content is not None:
            first_token = int((self._first_content - call.started) * 1e6 + 0.5)
        request_id, started_at, temperature = call.request_id, self._started_at, self.temperature
        size, sent = call.request_bytes, self.response_bytes
        nano_usd, source = cost.cost_nano_usd, cost.source
        line = end_line(
            request_id, created_at, known.end, client.members, prompt, completion, total, cached, reasoning,
            written, usage.source, "" if temperature is None else temperature_member(temperature), started_at,
            source, cost.unpriced, cost.price_version, nano_usd, of_prompt, of_completion, cost.breakdown, upstream,
            latency, first_token, size, sent,
        )  # fmt: skip
        if line is None:
            Meter.report(self, outcome, status, error_type=error_type, usage=usage)
            return
        self.cost_nano_usd = nano_usd
        self.reported = True
        served = self._served = ServedRequest(
            known, client, request_id, created_at, started_at, usage, cost, latency, upstream, first_token, size,
            sent, temperature, known.provider, known.model, known.upstream_model, prompt, completion, total,
            nano_usd, source, of_prompt, of_completion,
        )  # fmt: skip
        held = self.reservation
        if held is NOTHING_HELD:
            gateway.journal.end_served(served, line)
        else:
            # It is settled once that is on file: nobody is to find one without the other.
            self.reservation = NOTHING_HELD
            gateway.journal.end_served(served, line, held.settle)
        waiting = gateway.served.waiting
        waiting.append(served)
        if len(waiting) == 1:
            gateway.served.tell_soon()
