"""Requests that were served in the usual way: what many have in common is encoded once, and each adds its numbers.

The texts are parts of JSON objects: members without the braces around them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from llm_gateway.core.ledger.priced import PricedUsage
from llm_gateway.core.ledger.records import AttemptBegun, Breakdown, CostSource, Outcome, UsageRecord
from llm_gateway.core.ledger.usage import Usage

# The status of every request that is served in the usual way.
OK: Final = 200
# Characters that members may have, so that a line has room for all of them. Longer ones are encoded with each record.
_LONGEST_KNOWN: Final = 2048
_LONGEST_CLIENT: Final = 512
_DELETE: Final = "\x7f"

_encode: Final = msgspec.json.Encoder().encode
_decode_begun: Final = msgspec.json.Decoder(AttemptBegun).decode


# They refer to texts and numbers only, so the garbage collector skips them (gc=False).
class ClientFacts(msgspec.Struct, frozen=True, gc=False):
    """How a client numbers its request, and where it is; `members` are both as JSON."""

    request_id: str | None
    ip: str | None
    members: str


class KnownFacts(msgspec.Struct, frozen=True, eq=False, gc=False, kw_only=True):
    """What all requests of one caller to one deployment have in common.

    `begin`, `end` and `log` are what it contributes to an `AttemptBegun`, to a `UsageRecord` with the outcome `ok`
    after one attempt, and to a line of the access log. They are set by `known_facts`.
    """

    credential: str
    tenant: str | None
    project: str | None
    provider: str
    model: str
    upstream_model: str
    endpoint: str
    method: str
    stream: bool
    config_version: int
    begin: str = ""
    end: str = ""
    log: str = ""


class ServedRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that was served by its first attempt, with the status 200 and the outcome `ok`.

    It stands for the record that `record` returns. Times are whole microseconds, since the Unix epoch for
    `created_at` and `started_at`; the others mean what the milliseconds of a `UsageRecord` mean. It is made by
    position. What was billed is in `breakdown`: `cost.breakdown` is None for plain text.
    """

    known: KnownFacts
    client: ClientFacts
    request_id: str
    created_at: int
    # None = at `created_at`, to the millisecond.
    started_at: int | None
    usage: Usage
    cost: PricedUsage
    latency_us: int
    upstream_us: int
    first_token_us: int | None
    request_bytes: int
    response_bytes: int
    temperature: float | None
    # As in the record, for whoever settles what the request holds.
    provider: str
    model: str
    upstream_model: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_nano_usd: int | None
    cost_source: CostSource | None
    # What the prompt and the completion cost, where that is the breakdown; else it is that of `cost`.
    prompt_nano_usd: int | None = None
    completion_nano_usd: int | None = None
    outcome: Outcome = "ok"

    @property
    def breakdown(self) -> Breakdown | None:
        prompt, completion = self.prompt_nano_usd, self.completion_nano_usd
        if prompt is None or completion is None:
            return self.cost.breakdown
        return {
            "input_tokens": (self.prompt_tokens, prompt),
            "output_tokens": (self.completion_tokens, completion),
        }

    def record(self) -> UsageRecord:
        """Return the usage record."""
        known, client, usage, cost = self.known, self.client, self.usage, self.cost
        first_token_us = self.first_token_us
        # By position, in the order of its fields: by name it would take a microsecond more.
        return UsageRecord(
            self.request_id,
            self.created_at,
            known.endpoint,
            known.method,
            known.stream,
            OK,
            "ok",
            client.request_id,
            known.credential,
            known.provider,
            known.model,
            known.upstream_model,
            None,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
            usage.source,
            self.request_bytes,
            self.response_bytes,
            self.latency_us / 1000,
            self.upstream_us / 1000,
            None if first_token_us is None else first_token_us / 1000,
            1,
            client.ip,
            known.config_version,
            False,
            self.started_at,
            usage.cache_write_tokens,
            True,
            cost.cost_nano_usd,
            cost.source,
            cost.unpriced,
            self.breakdown,
            cost.price_version,
            None,
            None,
            self.temperature,
            known.tenant,
            known.project,
        )


# What a reservation is settled with: either says what was used, and of whom.
SettledRequest: TypeAlias = UsageRecord | ServedRequest


def client_facts(request_id: str | None, ip: str | None) -> ClientFacts | None:
    """Return the facts about a client; None if they are too long, or a log could not hold them as they are."""
    members = members_of({"client_request_id": request_id, "client_ip": ip}, _LONGEST_CLIENT)
    return None if members is None else ClientFacts(request_id, ip, members)


def known_facts(facts: KnownFacts) -> KnownFacts | None:
    """Return the facts with their texts; None if these are too long, or a log could not hold them as they are."""
    request: dict[str, str | int] = {
        "endpoint": facts.endpoint,
        "method": facts.method,
        "stream": facts.stream,
        "credential": facts.credential,
        "provider": facts.provider,
        "model": facts.model,
        "upstream_model": facts.upstream_model,
        "attempts": 1,
        "config_version": facts.config_version,
    }
    owners = {"tenant": facts.tenant, "project": facts.project}
    owned = {name: owner for name, owner in owners.items() if owner is not None}
    begin = members_of(request)
    end = members_of({**request, "status_code": OK, "outcome": "ok", "cached_in_prompt": True, **owned})
    # In the order of the log's fields.
    log = members_of(
        {
            "method": facts.method,
            "endpoint": facts.endpoint,
            "status_code": OK,
            "outcome": "ok",
            "error_type": None,
            "credential": facts.credential,
            "provider": facts.provider,
            "model": facts.model,
            "stream": facts.stream,
            "attempts": 1,
        }
    )
    if begin is None or end is None or log is None:
        return None
    return msgspec.structs.replace(facts, begin=begin, end=end, log=log)


def begun_attempt(line: bytes) -> AttemptBegun:
    """Return what the line of an attempt says."""
    return _decode_begun(line)


def members_of(values: Mapping[str, str | int | None], longest: int = _LONGEST_KNOWN) -> str | None:
    """Return values as members; None if they are too long, or a log could not hold them as they are."""
    try:
        text = _encode(values).decode()[1:-1]
    except UnicodeEncodeError:
        return None
    return text if len(text) <= longest and text.isascii() and _DELETE not in text else None
