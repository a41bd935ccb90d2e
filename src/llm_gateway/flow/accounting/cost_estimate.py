"""Estimates what a request will cost before any provider is called, and the most that it can cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.snapshot import Principal, Route, Snapshot
from llm_gateway.core.ledger.priced import PricedUsage
from llm_gateway.core.ledger.usage import CountSource, Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.pricing.cost import Quantities
from llm_gateway.flow.accounting.pricing import price_quantities, price_usage, requested_tier_of
from llm_gateway.flow.accounting.token_estimates import PromptCount, count_prompt
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.routing.plan import fallback_route, make_plan

# What a completion is taken to have if nothing limits it.
ASSUMED_COMPLETION_TOKENS: Final = 1024
# A larger limit is none.
_MOST_TOKENS: Final = 10**9
# Fields that limit the completion, of any endpoint; and those that ask for several.
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_CHOICES: Final = ("n", "best_of")
# Fields of requests that are billed by more than tokens of text, or in parts that no field limits.
_UNBOUNDED_FIELDS: Final = ("web_search_options", "audio", "prediction")
# Tools that the client runs itself. Any others run at the provider, as often as the model likes.
_OWN_TOOLS: Final = frozenset({"function", "custom"})
# Models whose tokenizer the gateway has. The formatting of tools is not known, hence the margin.
_KNOWN_TOKENIZER: Final = re.compile(r"(?:.*/)?(?:ft:)?(?:gpt-|chatgpt-|o[1-9]|codex-|text-embedding-)")
_MARGIN: Final = 32
# Parts of prompts and completions that may be billed at a higher price than the rest.
_CACHE_WRITES: Final[tuple[tuple[str, ...], ...]] = (
    ("cache_write_tokens",),
    ("cache_write_tokens", "cache_write_5m_tokens"),
    ("cache_write_tokens", "cache_write_1h_tokens"),
)

_COMPLETIONS: Final = ("output_reasoning_tokens", "output_image_tokens")

# Where the number of completion tokens comes from: the client's limit, what it expects, or an assumption.
CompletionSource = Literal["limit", "expected", "assumed", "none"]


class CostEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a request will cost at the deployment that is tried first, and the most that it can cost at any.

    `cost_nano_usd` is None if the price is not known, for the reason `unpriced`; `max_cost_nano_usd` is None if there
    is no upper bound, for the reason `unbounded`, a sentence for the client.
    """

    model: str
    provider: str
    upstream_model: str
    prompt_tokens: int
    prompt_tokens_source: CountSource
    completion_tokens: int
    completion_tokens_source: CompletionSource
    max_completion_tokens: int | None
    cost_nano_usd: int | None
    unpriced: str | None
    max_cost_nano_usd: int | None
    unbounded: str | None
    price_source: str | None
    price_version: str | None


class RoutedRequest(msgspec.Struct, frozen=True):
    """A request, who sends it, and the route of its model."""

    request: ModelRequest
    snapshot: Snapshot
    account: Principal
    route: Route
    # Unix microseconds, for the prices.
    created_at: int
    # With lower-case names: an affinity rule may use any of them.
    headers: Sequence[tuple[bytes, bytes]] = ()


async def estimate_cost(
    gateway: Gateway, routed: RoutedRequest, *, expected_completion_tokens: int | None = None
) -> CostEstimate:
    """Return the estimate. Calls no provider, takes nothing from limits, and leaves routing as it is.

    Raise what routing the request would raise. `expected_completion_tokens` counts instead of the request's limit.
    """
    request = routed.request
    plan = make_plan(
        gateway.selector.copy(),
        routed.snapshot,
        routed.account,
        routed.route,
        request,
        routed.headers,
        fallbacks=request.fallbacks,
    )
    deployment = plan.first(gateway.clock.monotonic()).deployment
    encoding = gateway.counter.encoding(deployment.upstream_model, request.model)
    prompt = await count_prompt(gateway.counter, request, encoding)
    tier = requested_tier_of(request.fields["service_tier"]) if "service_tier" in request.fields else None
    limit = _completion_limit(request)
    completion, source = _completion(limit, expected_completion_tokens)
    usage = Usage(prompt.tokens, completion, prompt.tokens + completion, source="estimated")
    cost = price_usage(usage, deployment, routed.created_at, tier)
    unbounded = _unbounded(request, prompt, limit)
    max_cost = None
    if unbounded is None and limit is not None:
        possible = _possible(routed, plan.route, is_pinned=plan.is_pinned)
        max_cost, unbounded = _highest(possible, request, prompt, limit, routed.created_at, tier)
    return CostEstimate(
        model=request.model,
        provider=deployment.provider_key,
        upstream_model=deployment.upstream_model,
        prompt_tokens=prompt.tokens,
        prompt_tokens_source=prompt.source,
        completion_tokens=completion,
        completion_tokens_source=source,
        max_completion_tokens=limit,
        cost_nano_usd=cost.cost_nano_usd,
        unpriced=cost.unpriced,
        max_cost_nano_usd=max_cost,
        unbounded=unbounded,
        price_source=None if cost.cost_nano_usd is None else cost.source,
        price_version=cost.price_version,
    )


def _completion(limit: int | None, expected: int | None) -> tuple[int, CompletionSource]:
    if limit == 0:
        return 0, "none"
    if expected is not None:
        return (expected if limit is None else min(expected, limit)), "expected"
    return (ASSUMED_COMPLETION_TOKENS, "assumed") if limit is None else (limit, "limit")


def _completion_limit(request: ModelRequest) -> int | None:
    """Return the most tokens that all choices may have; None without a limit."""
    if request.endpoint == "embeddings":
        return 0
    limits = [limit for name in _LIMITS if (limit := _count(request, name)) is not None]
    if not limits:
        return None
    choices = max(1, *(_count(request, name) or 1 for name in _CHOICES))
    return max(limits) * choices * _prompts(request)


def _prompts(request: ModelRequest) -> int:
    """Return how many prompts a request has: each of a legacy completion is answered by itself."""
    prompt = _value(request, "prompt") if request.endpoint == "completions" else None
    # A list of numbers is one prompt, of tokens.
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1


def _count(request: ModelRequest, name: str) -> int | None:
    value = _value(request, name)
    return value if type(value) is int and 0 < value <= _MOST_TOKENS else None


def _value(request: ModelRequest, name: str) -> Any:  # noqa: ANN401 - any JSON
    raw = request.fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _unbounded(request: ModelRequest, prompt: PromptCount, limit: int | None) -> str | None:
    """Return why there is no upper bound of the cost, None if there may be one."""
    if limit is None:
        return "nothing limits the answer: set max_tokens, or max_output_tokens in the Responses API"
    if not prompt.is_all_text:
        return "the tokens of images, files, stored content and very long prompts are known to the provider alone"
    for name in _UNBOUNDED_FIELDS:
        if _value(request, name):
            return f"'{name}' is billed by more than the tokens of the prompt and of a limited answer"
    for name in _CHOICES:
        if _value(request, name) is not None and _count(request, name) is None:
            return f"'{name}' is not a whole number above 0"
    modalities = _value(request, "modalities")
    for kind in modalities if isinstance(modalities, list) else ():
        if kind != "text":
            return f"{str(kind)[:20]} is billed by more than the tokens of the prompt and of a limited answer"
    tools = _value(request, "tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in _OWN_TOOLS:
            return "a tool that the provider runs is billed for each use"
    return None


def _possible(routed: RoutedRequest, route: Route, *, is_pinned: bool) -> Iterator[Deployment]:
    """Yield every deployment that may answer the request."""
    if is_pinned:
        yield from route.deployments
        return
    # Not `route`: it lacks those that are known not to serve the model, which are tried when all others fail.
    endpoint = routed.request.endpoint
    own = routed.route.answering(endpoint)
    yield from (own.priced(routed.created_at) if routed.account.requires_pricing else own).deployments
    rules = routed.route.rules
    own_fallbacks = routed.request.fallbacks
    fallbacks = rules.fallbacks if own_fallbacks is None else own_fallbacks
    for model in {*fallbacks, *rules.context_fallbacks, *rules.policy_fallbacks}:
        fallback = fallback_route(routed.snapshot, routed.account, model, endpoint, routed.created_at)
        if fallback is not None:
            yield from fallback.deployments


def _highest(
    deployments: Iterable[Deployment],
    request: ModelRequest,
    prompt: PromptCount,
    limit: int,
    created_at: int,
    tier: str | None,
) -> tuple[int | None, str | None]:
    """Return the highest cost at any of `deployments`, or why it is not known."""
    writes_cache = any(b'"cache_control"' in bytes(raw) for raw in request.fields.values())
    highest = 0
    for deployment in deployments:
        tokens = _most_prompt_tokens(prompt, deployment)
        for quantities in _worst(tokens, limit, writes_cache=writes_cache):
            cost = _priced(quantities, deployment, created_at, tier)
            if cost.cost_nano_usd is None:
                reason = (
                    f"the price of '{deployment.upstream_model}' at '{deployment.provider_key}' is not known"
                )
                return None, f"{reason} ({cost.unpriced})"
            highest = max(highest, cost.cost_nano_usd)
    return highest, None


def _priced(quantities: Quantities, deployment: Deployment, created_at: int, tier: str | None) -> PricedUsage:
    if deployment.prices is None:
        return PricedUsage(None, "none", "unknown_provider")
    return price_quantities(quantities, deployment.prices, created_at, tier)


def _most_prompt_tokens(prompt: PromptCount, deployment: Deployment) -> int:
    """Return no fewer tokens than the provider will count.

    Each token stands for a byte at least, and other tokenizers need about twice as many as ours at most.
    """
    if prompt.source != "counted":
        return prompt.size + _MARGIN
    if _KNOWN_TOKENIZER.match(deployment.upstream_model):
        return prompt.tokens + prompt.tokens // 10 + _MARGIN
    return min(2 * prompt.tokens, prompt.size) + _MARGIN


def _worst(prompt: int, completion: int, *, writes_cache: bool) -> Iterator[Quantities]:
    """Yield the ways to bill a prompt and a completion of which one costs the most."""
    parts: list[tuple[str, ...]] = [()]
    if writes_cache:
        parts += _CACHE_WRITES
    for inside in parts:
        quantities = {"input_tokens": prompt, **dict.fromkeys(inside, prompt), "output_tokens": completion}
        yield quantities
        for kind in _COMPLETIONS:
            yield {**quantities, kind: completion}
