"""Made-up usage rows of the past day, for pages that show use, stored as the shipper stores records."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from llm_gateway.core.ledger.records import AttemptEnded, Outcome, UsageRecord
from llm_gateway.infra.database.address import read_address
from llm_gateway.infra.database.engine import close_engine, make_engine
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.database.usage.rollups import RollupPosting
from llm_gateway.infra.json_lines import to_line
from llm_gateway.infra.request_ids import RequestIds

Value = TypeVar("Value")
_DAY_US: Final = 86_400_000_000
_BATCH: Final = 1000
_OUTCOMES: Final[tuple[tuple[float, Outcome, int], ...]] = (
    (0.93, "ok", 200),
    (0.96, "error", 502),
    (0.98, "aborted", 499),
    (1.0, "rejected", 429),
)


class Traffic(NamedTuple):
    """Who asks for what: names of the catalog, the more often the nearer to the front."""

    # Models, and who serves them.
    models: Mapping[str, Sequence[str]]
    credentials: Sequence[str]
    tenants: Sequence[str | None] = (None,)


def records(traffic: Traffic, count: int, *, seed: int = 1) -> list[UsageRecord | AttemptEnded]:
    """Return `count` requests of the past 24 hours, busiest by day, with the failed attempts of some."""
    chance, ids = random.Random(seed), RequestIds()
    now = time.time_ns() // 1000
    made: list[UsageRecord | AttemptEnded] = []
    for number in range(count):
        # Times are denser in the middle of the day, and the newest are of this minute.
        share = (number + 0.5) / count
        created_at = now - int(_DAY_US * (1 - share + 0.11 * math.sin(share * 2 * math.pi) / math.pi))
        made += _request(chance, traffic, ids(), min(created_at, now - 1_000_000))
    return made


def _pick(chance: random.Random, values: Sequence[Value]) -> Value:
    return values[min(int(chance.expovariate(0.9)), len(values) - 1)]


def _request(
    chance: random.Random, traffic: Traffic, request_id: str, created_at: int
) -> list[UsageRecord | AttemptEnded]:
    drawn = chance.random()
    outcome, status = next((outcome, status) for share, outcome, status in _OUTCOMES if drawn < share)
    prompt, completion = int(chance.lognormvariate(7, 1)), int(chance.lognormvariate(5.4, 0.8))
    ttft_ms = chance.lognormvariate(5.6, 0.35)
    model = _pick(chance, tuple(traffic.models))
    number = chance.randrange(len(traffic.credentials)) if chance.random() < 0.2 else None
    credential = _pick(chance, traffic.credentials) if number is None else traffic.credentials[number]
    provider, upstream_model = _pick(chance, traffic.models[model]), "gpt-4o-2024-08-06"
    record = UsageRecord(
        request_id=request_id,
        created_at=created_at,
        endpoint="/v1/chat/completions",
        method="POST",
        stream=chance.random() < 0.6,
        status_code=status,
        outcome=outcome,
        credential=credential,
        provider=provider,
        model=model,
        upstream_model=upstream_model,
        tenant=_pick(chance, traffic.tenants),
        client_ip="10.0.0.1",
        config_version=1,
        request_bytes=prompt * 4,
        response_bytes=completion * 6,
        latency_ms=ttft_ms + completion * 12,
        attempts=0 if outcome == "rejected" else 1,
    )
    if outcome == "rejected":
        return [msgspec.structs.replace(record, error_type="rate_limit_error", provider=None, latency_ms=0.4)]
    if outcome == "error":
        failed = AttemptEnded(
            request_id=request_id,
            attempt=1,
            started_at=created_at + 300,
            provider=provider,
            model=model,
            upstream_model=upstream_model,
            outcome="error",
            status=502,
            reason="status",
            detail="status 502",
            next_step="give_up",
            latency_ms=80.0,
        )
        return [failed, msgspec.structs.replace(record, error_type="api_error", latency_ms=81.0)]
    cost = prompt * 2_500 + completion * 10_000
    return [
        msgspec.structs.replace(
            record,
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            cached_tokens=0,
            cached_in_prompt=True,
            usage_source="provider",
            upstream_latency_ms=record.latency_ms - 1,
            ttft_ms=ttft_ms,
            attempt_started_at=created_at + 300,
            cost_nano_usd=cost,
            cost_source="catalog",
            cost_breakdown={
                "input_tokens": (prompt, prompt * 2_500),
                "output_tokens": (completion, completion * 10_000),
            },
            price_version="2026-11-01",
        )
    ]


async def store(url: str, made: Sequence[UsageRecord | AttemptEnded]) -> None:
    """Store records in the database of a gateway."""
    engine = make_engine(read_address(url))
    try:
        usage = UsageRepository(engine, [RollupPosting()])
        lines = [to_line(one) for one in made]
        for start in range(0, len(lines), _BATCH):
            await usage.upsert(lines[start : start + _BATCH])
    finally:
        await close_engine(engine)
