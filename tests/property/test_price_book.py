"""The price book gives the figures of the package that it is compiled from, or a reason why it gives none."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data import providers
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from llm_gateway.infra.price_book.shipped import shipped_price_book
from tests.property.price_oracle import UNITS, compare

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data/genai_prices/recorded_usages.json").read_text()
)
BOOK = shipped_price_book()
DAY = 86_400_000_000
TODAY = int(datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()) * 1_000_000
MODELS = [(provider, model) for provider in providers for model in provider.models]
FALLBACKS = [
    (provider, model)
    for provider in providers
    for fallback in provider.fallback_model_providers or ()
    for other in providers
    if other.id == fallback
    for model in other.models
]
INSIDE = {
    name: [other for other in UNITS if unit.dimensions.items() <= UNITS[other].dimensions.items()]
    for name, unit in UNITS.items()
    if name != "requests"
}
LEAVES = sorted(set(UNITS) - {"requests"})


def test_recorded_usages_cost_what_the_package_says() -> None:
    assert len(RECORDED["replies"]) == 1577
    seen = Counter[str]()
    for extractors, model, body in RECORDED["replies"]:
        for provider_id, flavor in RECORDED["extractors"][extractors]:
            provider = next(item for item in providers if item.id == provider_id)
            _, usage = provider.extract_usage(body, api_flavor=flavor)
            name = model or body.get("model") or provider.models[0].id
            quantities = {key: value for key, value in usage.__dict__.items() if key in UNITS}
            cost = compare(BOOK, provider_id, name, TODAY, {}, quantities)
            seen[cost.unknown or "priced"] += 1
    print(seen)
    assert seen["priced"] > 3000


def _instants(model: ModelInfo) -> list[int]:
    """Return instants around those at which prices change, and now."""
    instants = [TODAY]
    dated = model.prices if isinstance(model.prices, list) else []
    for item in (*dated, *(model.price_variants or ())):
        if isinstance(item.constraint, StartDateConstraint):
            start = datetime.combine(item.constraint.start_date, time(), UTC)
            at = int(start.timestamp()) * 1_000_000
            instants += [at - 1, at, at + DAY // 3]
        elif isinstance(item.constraint, TimeOfDateConstraint):
            for edge in (item.constraint.start_time, item.constraint.end_time):
                at = TODAY - TODAY % DAY + (edge.hour * 3600 + edge.minute * 60 + edge.second) * 1_000_000
                instants += [at - 1, at, at + 1]
    return instants


def _contexts(model: ModelInfo) -> list[dict[str, str]]:
    contexts: list[dict[str, str]] = [
        {},
        {"service_tier": "default"},
        {"service_tier": "unheard-of", "speed": "fast"},
    ]
    contexts += [variant.when for variant in model.price_variants or ()]
    contexts += [{"processing": "batch", **variant.when} for variant in model.price_variants or ()]
    return contexts


def _prices(model: ModelInfo) -> list[Any]:
    items = model.prices if isinstance(model.prices, list) else [model]
    return [item.prices for item in (*items, *(model.price_variants or ()))]


def _quantities(rng: random.Random, model: ModelInfo) -> dict[str, int | float]:
    """Return a usage whose parts fit into what contains them; now and then one that lies."""
    priced = [
        name for name, unit in UNITS.items() for prices in _prices(model) if unit.price_key in prices.__dict__
    ]
    amounts = dict.fromkeys(priced, 0)
    for name in rng.sample(LEAVES, rng.choice((0, 0, 1, 2))):
        amounts[name] = 0
    for name in amounts:
        amounts[name] = rng.choice(
            (0, 1, 7, rng.randrange(5000), rng.randrange(5000), rng.randrange(400_000))
        )
    quantities: dict[str, int | float] = {}
    for name, parts in INSIDE.items():
        if inside := [amounts[part] for part in parts if part in amounts]:
            quantities[name] = sum(inside)
    starts = [
        tier.start
        for prices in _prices(model)
        for value in prices.__dict__.values()
        if isinstance(value, TieredPrices)
        for tier in value.tiers
    ]
    if starts and rng.random() < 0.5:
        wanted = rng.choice(starts) + rng.choice((-1, 0, 1))
        quantities["input_tokens"] = max(int(quantities.get("input_tokens", 0)), wanted)
    if "audio_seconds" in quantities and rng.random() < 0.5:
        seconds = rng.randrange(100_000) / 1000 + quantities["audio_seconds"]
        quantities |= dict.fromkeys(quantities.keys() & {"audio_seconds", "input_audio_seconds"}, seconds)
    if quantities and rng.random() < 0.05:
        del quantities[rng.choice(sorted(quantities))]
    if quantities and rng.random() < 0.02:
        quantities[rng.choice(sorted(quantities))] = rng.randrange(10)
    return quantities


def _cases(
    seed: int, count: int
) -> Iterator[tuple[Provider, ModelInfo, int, dict[str, str], dict[str, int | float]]]:
    rng = random.Random(seed)
    # Models with conditions are few: visit them as often as all others together.
    conditional = [
        (provider, model)
        for provider, model in MODELS
        if model.price_variants
        or isinstance(model.prices, list)
        or any(isinstance(value, TieredPrices) for value in model.prices.__dict__.values())
        or len(model.prices.__dict__) > 3
    ]
    for number in range(count):
        provider, model = rng.choice((MODELS, conditional, conditional, FALLBACKS)[number % 4])
        yield (
            provider,
            model,
            rng.choice(_instants(model)),
            rng.choice(_contexts(model)),
            _quantities(rng, model),
        )


def _compare_generated(seed: int, count: int) -> Counter[str]:
    seen = Counter[str]()
    for provider, model, at, context, quantities in _cases(seed, count):
        cost = compare(BOOK, provider.id, model.id, at, context, quantities)
        seen[cost.unknown or "priced"] += 1
    return seen


@pytest.mark.parametrize("seed", range(5))
def test_generated_usages_cost_what_the_package_says(seed: int) -> None:
    seen = _compare_generated(seed, 10_000)
    print(seen)
    assert seen["priced"] > 7000


@pytest.mark.soak
def test_many_generated_usages_cost_what_the_package_says() -> None:
    for seed in range(100, 110):
        assert _compare_generated(seed, 50_000)["priced"] > 30_000


def _spellings(model: ModelInfo) -> Iterator[str]:
    yield from (
        model.id,
        model.id.upper(),
        f"{model.id}-20251211",
        f"{model.id}-2025-12-11",
        f"{model.id}:free",
    )
    yield from (
        f"openai/{model.id}",
        model.id.rpartition("/")[2],
        f"ft:{model.id}:org::id",
        model.id.replace(".", "-"),
    )
    yield from (f"{model.id}-20251399", model.id[:-1], f"models/{model.id}", f"us.anthropic.{model.id}-v1:0")


@pytest.mark.parametrize("share", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_names_find_the_model_that_the_package_finds(share: int) -> None:
    snapshot = get_snapshot()
    rng = random.Random(0)
    for provider, model in rng.sample(MODELS, len(MODELS) // share):
        for name in _spellings(model):
            for asked in (provider, rng.choice(providers)):
                their = asked.find_model(name, all_providers=snapshot.providers)
                ours = BOOK.schedule(asked.id, name)
                if their is None:
                    assert ours is BOOK.schedule(asked.id, "no such model"), (asked.id, name)
                else:
                    assert ours.model == their.id, (asked.id, name)


@pytest.mark.parametrize(
    "name",
    [
        *("openai", "OpenAI", " azure ", "azure-openai", "openai-chat", "litellm-x", "x", ""),
        *("google-vertex", "vertex_ai", "google-gla", "gemini", "bedrock", "aws", "anthropic-beta"),
        *("mistralai", "together_ai", "xai", "huggingface", "fireworks_ai"),
    ],
)
def test_providers_go_by_the_names_that_the_package_knows(name: str) -> None:
    try:
        their = get_snapshot().find_provider(None, name, None).id
    except LookupError:
        their = None
    assert BOOK.provider(name) == their
