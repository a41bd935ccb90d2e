"""An estimate is what routing and prices say; its upper bound is one, or there is none and a reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.models import Model
from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.cost_estimate import CostEstimate, RoutedRequest, estimate_cost
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream, credential, provider
from tests.fakes.prices import CHEAP, DEAR, prices_of, unknown, with_prices

TEXT = "one two three four"


def bench_of(*models: Model, **mapping: str) -> FakeGateway:
    providers = [
        provider(
            key, number, weight=100 // number, model_mapping={"m": upstream, "other": f"{upstream}-other"}
        )
        for number, (key, upstream) in enumerate(mapping.items(), 1)
    ]
    return FakeGateway(*providers, upstream=ScriptedUpstream(), models=models)


async def estimate(
    bench: FakeGateway,
    endpoint: EndpointName = "chat/completions",
    expected: int | None = None,
    account: Principal | None = None,
    fallbacks: tuple[str, ...] | None = None,
    **fields: Any,
) -> CostEstimate:
    if endpoint == "chat/completions":
        fields.setdefault("messages", [{"role": "user", "content": TEXT}])
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    route = snapshot.route("m")
    assert route is not None
    routed = RoutedRequest(
        ModelRequest(endpoint, "m", False, False, raw, fallbacks=fallbacks),
        snapshot,
        account or Principal(credential()),
        route,
        bench.clock.unix_us(),
    )
    return await estimate_cost(bench.gateway, routed, expected_completion_tokens=expected)


async def test_the_deployment_that_is_tried_first_sets_the_estimate_and_the_dearest_one_the_bound() -> None:
    bench = with_prices(bench_of(a="gpt-a", b="gpt-b"), a=prices_of(CHEAP), b=prices_of(DEAR))
    found = await estimate(bench, max_tokens=100)
    assert (found.provider, found.upstream_model) == ("a", "gpt-a")
    # The role and four words, 3 for the message, 3 for the reply.
    assert (found.prompt_tokens, found.cost_nano_usd) == (11, 11_000 + 200_000)
    # A tenth more prompt and 32 tokens, at ten times the price.
    assert found.max_cost_nano_usd == (11 + 1 + 32) * 10_000 + 100 * 20_000


async def test_a_fallback_model_may_be_dearer() -> None:
    rules = Model(id=1, name="m", fallbacks=("other",))
    bench = with_prices(bench_of(rules, a="gpt-a"), a=prices_of(CHEAP))
    with_prices(bench, "other", a=prices_of(DEAR))
    found = await estimate(bench, max_tokens=100)
    assert found.max_cost_nano_usd == 44 * 10_000 + 100 * 20_000
    with_prices(bench, "other", a=unknown())
    found = await estimate(bench, max_tokens=100)
    assert found.cost_nano_usd == 211_000
    assert (found.max_cost_nano_usd, found.unbounded) == (
        None,
        "the price of 'gpt-a-other' at 'a' is not known (unknown_model)",
    )


async def test_the_request_s_own_fallbacks_count_in_place_of_the_model_s() -> None:
    rules = Model(id=1, name="m", fallbacks=("other",))
    bench = with_prices(bench_of(rules, a="gpt-a"), a=prices_of(CHEAP))
    with_prices(bench, "other", a=unknown())
    found = await estimate(bench, max_tokens=100, fallbacks=())
    assert found.max_cost_nano_usd == 44_000 + 200_000
    found = await estimate(bench, max_tokens=100, fallbacks=("other",))
    assert found.max_cost_nano_usd is None


async def test_deployments_without_prices_do_not_count_for_who_may_not_use_them() -> None:
    bench = with_prices(bench_of(a="gpt-a", b="gpt-b"), a=unknown(), b=prices_of(CHEAP))
    assert (await estimate(bench, max_tokens=100)).max_cost_nano_usd is None
    found = await estimate(bench, max_tokens=100, account=Principal(credential(require_pricing=True)))
    assert (found.provider, found.max_cost_nano_usd) == ("b", 44_000 + 200_000)


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 7}, 7),
        ({"max_completion_tokens": 7, "max_tokens": 9}, 9),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"max_tokens": 0}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": 1.5}, None),
        ({}, None),
    ],
)
async def test_only_a_sensible_limit_limits_the_completion(fields: dict[str, Any], limit: int | None) -> None:
    found = await estimate(with_prices(bench_of(a="gpt-a"), a=prices_of(CHEAP)), **fields)
    assert found.max_completion_tokens == limit
    assert found.completion_tokens == (limit or 1024)
    assert found.completion_tokens_source == ("assumed" if limit is None else "limit")
    assert (found.max_cost_nano_usd is None) == (limit is None)


@pytest.mark.parametrize(
    ("prompt", "limit"), [("a", 7), (["a"], 7), (["a", "b", "c"], 21), ([1, 2, 3], 7), ([[1, 2], [3]], 14)]
)
async def test_each_prompt_of_a_legacy_completion_is_answered(prompt: object, limit: int) -> None:
    bench = with_prices(bench_of(a="gpt-a"), a=prices_of(CHEAP))
    found = await estimate(bench, "completions", prompt=prompt, max_tokens=7)
    assert (found.max_completion_tokens, found.completion_tokens) == (limit, limit)


async def test_images_in_the_answer_may_be_dearer_than_text() -> None:
    prices = {"input_tokens": 1, "output_tokens": 2, "output_image_tokens": 30}
    bench = with_prices(bench_of(a="gpt-a"), a=prices_of(prices))
    assert (await estimate(bench, max_tokens=100)).max_cost_nano_usd == 44_000 + 100 * 30_000


async def test_what_the_caller_expects_counts_up_to_the_limit() -> None:
    bench = with_prices(bench_of(a="gpt-a"), a=prices_of(CHEAP))
    found = await estimate(bench, expected=5, max_tokens=100)
    assert (found.completion_tokens, found.completion_tokens_source) == (5, "expected")
    assert found.cost_nano_usd == 11_000 + 10_000
    assert (await estimate(bench, expected=500, max_tokens=100)).completion_tokens == 100
    assert (await estimate(bench, expected=500)).completion_tokens == 500


async def test_an_embedding_has_no_completion() -> None:
    bench = with_prices(bench_of(a="text-embedding-3-small"), a=prices_of({"input_tokens": 1}))
    found = await estimate(bench, "embeddings", input=TEXT)
    assert (found.prompt_tokens, found.completion_tokens, found.completion_tokens_source) == (4, 0, "none")
    assert (found.cost_nano_usd, found.max_cost_nano_usd) == (4000, 36_000)


async def test_the_requested_tier_sets_the_price() -> None:
    prices = prices_of(CHEAP, tiers={"priority": {"input_tokens": 2, "output_tokens": 4}})
    found = await estimate(
        with_prices(bench_of(a="gpt-a"), a=prices), max_tokens=100, service_tier="priority"
    )
    assert found.cost_nano_usd == 422_000


async def test_cache_writes_and_reasoning_may_be_dearer_than_the_rest() -> None:
    amounts = {**CHEAP, "cache_write_tokens": 2, "cache_write_1h_tokens": 3, "output_reasoning_tokens": 5}
    bench = with_prices(bench_of(a="gpt-a"), a=prices_of(amounts))
    assert (await estimate(bench, max_tokens=100)).max_cost_nano_usd == 44_000 + 500_000
    part = {"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}
    messages = [{"role": "user", "content": [part]}]
    found = await estimate(bench, max_tokens=100, messages=messages)
    assert found.max_cost_nano_usd == 44 * 3000 + 500_000


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "https://x.test/1.png"}}],
                    }
                ]
            },
            "images",
        ),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
        ({"modalities": ["text", "audio"]}, "audio"),
        ({"modalities": ["text", "image"]}, "image"),
        # Some servers take these for 3.
        ({"n": 3.0}, "'n' is not a whole number"),
        ({"n": "3"}, "'n' is not a whole number"),
        ({"best_of": 0}, "'best_of' is not a whole number"),
        ({"tools": [{"type": "web_search"}]}, "a tool that the provider runs"),
        ({"tools": ["nonsense"]}, "a tool that the provider runs"),
    ],
)
async def test_what_nothing_limits_has_no_bound(fields: dict[str, Any], says: str) -> None:
    found = await estimate(with_prices(bench_of(a="gpt-a"), a=prices_of(CHEAP)), max_tokens=5, **fields)
    assert found.max_cost_nano_usd is None
    assert says in str(found.unbounded)
    assert found.cost_nano_usd is not None


async def test_functions_of_the_client_are_part_of_the_prompt() -> None:
    tools = [{"type": "function", "function": {"name": "look", "description": "up it all"}}]
    bench = with_prices(bench_of(a="gpt-a"), a=prices_of(CHEAP))
    found = await estimate(bench, max_tokens=5, tools=tools, modalities="text", web_search_options=None)
    assert found.unbounded is None
    assert found.prompt_tokens > 11


async def test_a_prompt_without_a_tokenizer_has_a_token_for_each_byte_at_most() -> None:
    class NoCounter:
        def encoding(self, upstream_model: str, public_model: str) -> str:
            del upstream_model, public_model
            return "none"

        async def count(self, encoding: str, texts: Any) -> int | None:
            del encoding, texts
            return None

    bench = with_prices(bench_of(a="gpt-a"), a=prices_of(CHEAP))
    object.__setattr__(bench.gateway, "counter", NoCounter())
    found = await estimate(bench, max_tokens=5)
    assert found.prompt_tokens_source == "estimated"
    assert found.max_cost_nano_usd is not None
    size = len(msgspec.json.encode([{"role": "user", "content": TEXT}]))
    assert found.max_cost_nano_usd >= size * 1000 + 10_000
