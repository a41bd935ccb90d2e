"""What pricing a request takes: `python -m benchmarks.pricing` prints microseconds a call, and memory and load times.

The first figure chooses the table for an instant and prices quantities; the second is all that the gateway does for a
request: from the usage at a deployment to the fields of its record. The least of several runs counts: on a machine
with other work the others show that work.
"""

from __future__ import annotations

import gc
import time
import timeit
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.usage import Usage, UsageDetails
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.core.pricing.price_table import price
from llm_gateway.flow.accounting.pricing import price_usage
from llm_gateway.infra.price_book.shipped import shipped_price_book

CALLS: Final = 1000
RUNS: Final = 1000
_COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_reasoning_tokens",
)
AT: Final = 1_795_953_600_000_000
CASES: Final[tuple[tuple[str, str, str, Mapping[str, str], Mapping[str, int | float]], ...]] = (
    ("input and output", "openai", "gpt-4o-mini", {}, {"input_tokens": 1200, "output_tokens": 300}),
    (
        "cached, reasoning, served tier",
        "openai",
        "gpt-5.4",
        {"service_tier": "default"},
        {
            "input_tokens": 1200,
            "output_tokens": 300,
            "cache_read_tokens": 1024,
            "output_reasoning_tokens": 128,
        },
    ),
    (
        "cache writes, long prompt",
        "anthropic",
        "claude-sonnet-4-5",
        {},
        {
            "input_tokens": 250_000,
            "output_tokens": 300,
            "cache_read_tokens": 100_000,
            "cache_write_tokens": 500,
            "cache_write_1h_tokens": 200,
        },
    ),
    ("time of day", "deepseek", "deepseek-chat", {}, {"input_tokens": 1200, "output_tokens": 300}),
    (
        "cached, flex",
        "openai",
        "gpt-5.4",
        {"service_tier": "flex"},
        {"input_tokens": 300_000, "output_tokens": 300, "cache_read_tokens": 1024},
    ),
)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def main() -> None:
    """Print the results."""
    gc.collect()
    before, start = _resident(), time.perf_counter()
    book = shipped_price_book()
    print(f"reading the price book: {(time.perf_counter() - start) * 1e3:.1f} ms, {_resident() - before} KiB")
    start = time.perf_counter()
    for provider in book.providers:
        book.schedule(provider, "no such model")
    print(
        f"decoding all providers: {(time.perf_counter() - start) * 1e3:.1f} ms, {_resident() - before} KiB in all"
    )
    for title, provider, model, context, quantities in CASES:
        schedule = book.schedule(provider, model)
        names = {
            "price": price,
            "table": schedule.table,
            "at": AT,
            "context": context,
            "quantities": quantities,
        }
        runs = timeit.repeat(
            "price(table(at, context), quantities)", globals=names, number=CALLS, repeat=RUNS
        )
        deployment = _deployment(DeploymentPrices(schedule, book.version))
        whole = {
            "price_usage": price_usage,
            "usage": _usage(quantities, context.get("service_tier")),
            "deployment": deployment,
            "at": AT,
        }
        requests = timeit.repeat(
            "price_usage(usage, deployment, at)", globals=whole, number=CALLS, repeat=RUNS
        )
        print(
            f"{title}: {min(runs) / CALLS * 1e6:.2f} us, a request {min(requests) / CALLS * 1e6:.2f} us ({model})"
        )


def _usage(quantities: Mapping[str, int | float], tier: str | None) -> Usage:
    """Return the usage of which `quantities` are made."""
    counts = {name: int(quantities.get(name, 0)) for name in _COUNTS}
    prompt, completion, cached, written, reasoning = counts.values()
    others = {name: amount for name, amount in quantities.items() if name not in counts}
    tier = None if tier == "default" else tier
    details = UsageDetails(quantities=others, served_tier=tier) if others or tier else None
    return Usage(prompt, completion, prompt + completion, cached, reasoning, "provider", written, details)


def _deployment(prices: DeploymentPrices) -> Deployment:
    return Deployment(
        provider_id=1,
        provider_key="provider",
        kind="openai",
        base_url="https://example.test",
        secret=None,
        upstream_model="model",
        weight=1,
        stream_usage=True,
        prices=prices,
    )


if __name__ == "__main__":
    main()
