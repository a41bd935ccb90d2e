"""Meters a request that is served directly: what it has in common with others is encoded once for all of them."""

from __future__ import annotations

from typing import Final

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.records import Outcome
from llm_gateway.core.ledger.served import (
    NUMBERS,
    OK,
    THOUSANDTHS,
    KnownFacts,
    ServedRequest,
    cost_members,
    temperature_member,
)
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.accounting.meter import AT_ONCE, Meter
from llm_gateway.flow.accounting.pricing import price_usage
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION
from llm_gateway.flow.ports.limits import NOTHING_HELD

_encode: Final = msgspec.json.Encoder().encode
# What is said of most token counts beside prompt, completion and total.
_PLAIN: Final = ',"cached_tokens":0,"reasoning_tokens":0,"cache_write_tokens":0,"usage_source":"provider"'


class DirectMeter(Meter):
    """A meter that reports a request which ends well by its first attempt as a `ServedRequest`.

    Observers are told of it once the writes of this turn have been made; they are told of any other request at once.
    """

    __slots__ = ("_created",)
    # When the request was created, as text; set once something is known of it.
    _created: str

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
        created = self._created = str(call.created_at)
        started: int | str = "null"
        if waited >= AT_ONCE:
            started = self._started_at = call.created_at + int(waited * 1e6)
        size = call.request_bytes
        self._gateway.journal.begin_known(
            request_id,
            f'{{"t":"begin","request_id":"{request_id}","created_at":{created},{known.begin},{client.members},'
            f'"request_bytes":{NUMBERS[size]},"started_at":{started}}}\n'.encode(),
        )

    def report(  # noqa: PLR0912 - a function of its own would cost more than what it did
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
        cost = price_usage(usage, deployment, call.created_at)
        said_of_cost = cost_members(cost.source, cost.unpriced, cost.price_version)
        if said_of_cost is None:
            Meter.report(self, outcome, status, error_type=error_type, usage=usage)
            return
        nano_usd = self.cost_nano_usd = cost.cost_nano_usd
        self.reported = True
        now = gateway.clock.monotonic()
        latency = int((now - call.started) * 1e6 + 0.5)
        upstream = int(((self._upstream_ended or now) - started) * 1e6 + 0.5)
        whole, upstream_whole, first_token, ttft = latency // 1000, upstream // 1000, None, "null"
        if self._first_content is not None:
            first_token = int((self._first_content - call.started) * 1e6 + 0.5)
            ttft = f"{first_token // 1000}{THOUSANDTHS[first_token % 1000]}"
        request_id, started_at, temperature = call.request_id, self._started_at, self.temperature
        size, sent = call.request_bytes, self.response_bytes
        prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
        tokens = f'"prompt_tokens":{NUMBERS[prompt]},"completion_tokens":{NUMBERS[completion]}'
        tail = (
            f'"latency_ms":{NUMBERS[whole]}{THOUSANDTHS[latency % 1000]},'
            f'"ttft_ms":{ttft},"request_bytes":{NUMBERS[size]},'
            f'"response_bytes":{NUMBERS[sent]}}}\n'
        )
        served = self._served = ServedRequest(
            known, client, request_id, call.created_at, started_at, usage, cost, latency, upstream, first_token, size,
            sent, temperature, tokens, tail, known.provider, known.model, known.upstream_model,
            prompt, completion, total, nano_usd, cost.source,
        )  # fmt: skip
        if nano_usd is not None:
            said_of_cost = f'{said_of_cost},"cost_nano_usd":{nano_usd}'
            if cost.breakdown is not None:
                said_of_cost = f'{said_of_cost},"cost_breakdown":{_encode(cost.breakdown).decode()}'
        if (
            usage.cached_tokens
            or usage.reasoning_tokens
            or usage.cache_write_tokens
            or usage.source != "provider"
        ):
            parts = (
                f',"cached_tokens":{usage.cached_tokens},"reasoning_tokens":{usage.reasoning_tokens},'
                f'"cache_write_tokens":{usage.cache_write_tokens},"usage_source":"{usage.source}"'
            )
        else:
            parts = _PLAIN
        if temperature is not None:
            parts = f"{parts}{temperature_member(temperature)}"
        if started_at is not None:
            parts = f'{parts},"attempt_started_at":{started_at}'
        line = (
            f'{{"t":"end","request_id":"{request_id}","created_at":{self._created},{known.end},{client.members},'
            f'{tokens},"total_tokens":{NUMBERS[total]}{parts}{said_of_cost},'
            f'"upstream_latency_ms":{NUMBERS[upstream_whole]}'
            f"{THOUSANDTHS[upstream % 1000]},{tail}"
        ).encode()
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
