"""What is read from replies is what the price book's package reads, whatever the form, and never nonsense."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.ledger.usage_parts import whole_usage
from llm_gateway.core.pricing.price_table import price
from llm_gateway.flow.accounting.pricing import quantities_of
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.providers.registry import ADAPTERS
from llm_gateway.wire.errors import BadReply
from tests.fakes.openai_requests import model_request

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data/genai_prices/recorded_usages.json").read_text()
)
EXTRACTORS = {
    (provider.id, extractor.api_flavor): extractor
    for provider in providers
    for extractor in provider.extractors or ()
}
# By the package's provider and flavor: our kind, and the endpoint.
READERS: dict[tuple[str, str], tuple[str, EndpointName]] = {
    ("anthropic", "default"): ("anthropic", "chat/completions"),
    ("google", "default"): ("gemini", "chat/completions"),
    ("openai", "responses"): ("openai", "responses"),
    ("azure", "responses"): ("azure", "responses"),
    ("x-ai", "responses"): ("xai", "responses"),
    ("perplexity", "responses"): ("perplexity", "responses"),
    ("openai", "embeddings"): ("openai", "embeddings"),
    ("azure", "embeddings"): ("azure", "embeddings"),
    ("openai", "chat"): ("openai", "chat/completions"),
    ("azure", "chat"): ("azure", "chat/completions"),
    ("openrouter", "chat"): ("openrouter", "chat/completions"),
    ("deepseek", "chat"): ("deepseek", "chat/completions"),
    ("fireworks", "chat"): ("fireworks", "chat/completions"),
    ("cerebras", "chat"): ("cerebras", "chat/completions"),
    ("groq", "default"): ("groq", "chat/completions"),
    ("mistral", "default"): ("mistral", "chat/completions"),
    ("x-ai", "chat"): ("xai", "chat/completions"),
    **{
        key: ("openai", "chat/completions")
        for key in EXTRACTORS
        if key[0].startswith("huggingface_") and key[1] == "chat"
    },
}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
CANDIDATE = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "index": 0}
ANSWERS: dict[str, dict[str, Any]] = {
    "chat/completions": {"choices": [CHOICE]},
    "responses": {"status": "completed", "output": [{"type": "message"}]},
    "embeddings": {"data": [{"index": 0, "embedding": [0.5]}]},
    "anthropic": {
        "type": "message",
        "content": [{"type": "text", "text": "a"}],
        "stop_reason": "end_turn",
    },
    "gemini": {"candidates": [CANDIDATE]},
}
# The text of a prompt or an answer is what its other modalities leave. No model has a price for it.
TEXT = frozenset(
    {
        *("input_text_tokens", "output_text_tokens", "cache_text_read_tokens", "input_text_tool_tokens"),
    }
)
Stated = Usage | StatedUsage | None


def answer(kind: str, endpoint: EndpointName) -> dict[str, Any]:
    return ANSWERS[kind if kind in ANSWERS else endpoint]


def read_whole(kind: str, endpoint: EndpointName, fields: Mapping[str, Any]) -> Stated:
    body = json.dumps({**answer(kind, endpoint), **fields}).encode()
    request = model_request(endpoint, input="a") if endpoint == "embeddings" else model_request(endpoint)
    return ADAPTERS[kind].decode(body, request).usage


def read_stream(kind: str, endpoint: EndpointName, fields: Mapping[str, Any]) -> Stated:
    """Return what is read from a stream whose last event but the end has the usage."""
    whole = {**answer(kind, endpoint), **fields}
    events: list[dict[str, Any]]
    if kind == "anthropic":
        events = [
            {"type": "message_start", "message": {**whole, "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": whole.get("usage")},
            {"type": "message_stop"},
        ]
    elif kind == "gemini":
        early = {"candidates": [{**CANDIDATE, "finishReason": None}]}
        events = [early, {**whole, "candidates": [{**CANDIDATE, "content": None}]}]
    elif endpoint == "responses":
        events = [
            {"type": "response.output_text.delta", "delta": "a"},
            {"type": "response.completed", "response": whole},
        ]
    else:
        delta = {"index": 0, "delta": {"content": "a"}, "finish_reason": None}
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        events = [{"choices": [delta]}, {"choices": [end]}, {**fields, "choices": []}]
    stream = ADAPTERS[kind].stream(model_request(endpoint, stream=True), event_limit=1 << 20)
    for event in events:
        name = f"event: {event['type']}\n" if "type" in event else ""
        stream.feed(f"{name}data: {json.dumps(event)}\n\n".encode())
    return stream.usage


def quantities(stated: Stated) -> dict[str, int | float]:
    """Return what is stated by the units' names, without zeros."""
    if isinstance(stated, Usage):
        found = quantities_of(stated)
    elif stated is None:
        found = {}
    else:
        found = {
            "input_tokens": stated.prompt_tokens or 0,
            "output_tokens": stated.completion_tokens or 0,
            "cache_read_tokens": stated.cached_tokens,
            "cache_write_tokens": stated.cache_write_tokens,
            "output_reasoning_tokens": stated.reasoning_tokens,
            **(stated.details.quantities if stated.details is not None else {}),
        }
    return {name: count for name, count in found.items() if count}


def adds_reasoning_twice(provider: str, body: Mapping[str, Any]) -> bool:
    """Tell whether the package adds reasoning that the total shows to be in the completion already.

    It does so for all replies of xAI, and these are others'.
    """
    usage = body["usage"]
    return provider == "x-ai" and usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_recorded_replies_have_the_quantities_that_the_package_extracts() -> None:
    seen, differing = Counter[str](), Counter[str]()
    for extractors, _, body in RECORDED["replies"]:
        for provider, flavor in RECORDED["extractors"][extractors]:
            if (provider, flavor) not in READERS:
                continue
            extractor = EXTRACTORS[provider, flavor]
            units = {mapping.dest for mapping in extractor.mappings}
            theirs = {
                name: n for name, n in extractor.extract(body)[1].__dict__.items() if name in units and n
            }
            stated = quantities(read_whole(*READERS[provider, flavor], body))
            ours = {name: count for name, count in stated.items() if name in units}
            seen[f"{provider}/{flavor}"] += 1
            if not TEXT.isdisjoint(theirs):
                differing["text"] += 1
                theirs = {name: count for name, count in theirs.items() if name not in TEXT}
            if ours != theirs and adds_reasoning_twice(provider, body):
                differing["reasoning"] += 1
                theirs["output_tokens"] -= theirs["output_reasoning_tokens"]
            assert ours == theirs, (provider, flavor, body)
    print(seen, differing)
    assert differing == {"text": 440, "reasoning": 73}
    assert sum(seen.values()) > 9000
    assert {"anthropic/default", "google/default", "openai/chat", "openai/responses"} <= seen.keys()


def test_no_model_has_a_price_for_text_apart_from_other_tokens() -> None:
    book = shipped_price_book()
    for provider in providers:
        for model in provider.models:
            table = book.schedule(provider.id, model.id).table(1_795_000_000_000_000)
            assert TEXT.isdisjoint(name for _, lines in table.bands for name, *_ in lines)


def test_a_stream_states_what_a_whole_reply_states() -> None:
    compared = 0
    for extractors, _, body in RECORDED["replies"]:
        for provider, flavor in RECORDED["extractors"][extractors]:
            kind, endpoint = READERS.get((provider, flavor), ("", "embeddings"))
            if endpoint == "embeddings" or (provider, flavor) not in READERS:
                continue
            assert read_stream(kind, endpoint, body) == read_whole(kind, endpoint, body), (kind, body)
            compared += 1
    assert compared > 8000


def test_recorded_costs_of_openrouter_are_read() -> None:
    """Those of two recordings with a key of one's own are the upstream's: OpenRouter charged nothing."""
    costs = Counter[str]()
    for _, _, body in RECORDED["replies"]:
        usage = body.get("usage") or {}
        if "prompt_tokens" not in usage:
            continue
        stated = read_whole("openrouter", "chat/completions", body)
        # A cost is money only where the kind is known to state it.
        elsewhere = read_whole("openai", "chat/completions", body)
        assert elsewhere is None or elsewhere.details is None or elsewhere.details.cost_nano_usd is None
        if "cost" in usage:
            paid = usage["cost"] + (
                usage["cost_details"]["upstream_inference_cost"] if usage.get("is_byok") else 0
            )
            assert stated is not None
            assert stated.details is not None
            assert stated.details.cost_nano_usd == round(paid * 1e9)
            costs["byok" if usage.get("is_byok") else "charged"] += 1
    assert costs == {"charged": 37, "byok": 2}


# Every name that is read, and some that are not.
NAMES = {
    "openai": (
        "prompt_tokens completion_tokens total_tokens prompt_tokens_details completion_tokens_details cached_tokens "
        "audio_tokens image_tokens video_tokens cache_write_tokens cache_creation_tokens reasoning_tokens "
        "prompt_cache_hit_tokens cost cost_details is_byok cost_in_usd_ticks server_tool_use web_search_requests "
        "upstream_inference_cost input_tokens output_tokens input_tokens_details output_tokens_details total_cost "
        "cache_read_input_tokens cache_creation_input_tokens tool_calls_details search_web invocation currency"
    ),
    "anthropic": (
        "input_tokens output_tokens cache_creation_input_tokens cache_read_input_tokens output_tokens_details "
        "thinking_tokens cache_creation ephemeral_5m_input_tokens ephemeral_1h_input_tokens server_tool_use "
        "web_search_requests service_tier speed"
    ),
    "gemini": (
        "promptTokenCount candidatesTokenCount thoughtsTokenCount toolUsePromptTokenCount cachedContentTokenCount "
        "totalTokenCount promptTokensDetails candidatesTokensDetails cacheTokensDetails "
        "toolUsePromptTokensDetails serviceTier trafficType modality tokenCount"
    ),
}
COUNTS = st.integers(0, 300) | st.integers(-5, 2**70)
SCALARS = (
    COUNTS
    | st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "5", "7.0", "flex", "default", "AUDIO", "IMAGE", "TEXT", "1e400", "USD"])
)


def objects(names: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.sampled_from(names.split())
    values = st.recursive(
        COUNTS | SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner),
        max_leaves=6,
    )
    return st.dictionaries(keys, values, max_size=10)


def assert_sane(stated: Stated) -> None:
    """Check that no part is more than the whole, and that the price of it all is defined."""
    if not isinstance(stated, Usage):
        return
    assert stated == whole_usage(stated)
    amounts = quantities_of(stated)
    assert all(count > 0 for count in amounts.values())
    assert stated.cached_tokens + stated.cache_write_tokens <= stated.prompt_tokens
    assert stated.reasoning_tokens <= stated.completion_tokens
    units = shipped_price_book().units
    for name, count in amounts.items():
        for container in units.containers[name]:
            assert count <= amounts.get(container, count), (name, container)
    details = stated.details
    if details is not None and details.cost_nano_usd is not None:
        assert 0 <= details.cost_nano_usd <= 10**13


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [
        *((kind, "chat/completions") for kind in ("openai", "openrouter", "xai", "anthropic", "gemini")),
        *((kind, "responses") for kind in ("openai", "xai", "perplexity")),
        ("openrouter", "embeddings"),
    ],
)
@given(data=st.data())
def test_no_usage_is_unreadable_and_no_part_exceeds_the_whole(
    kind: str, endpoint: EndpointName, data: st.DataObject
) -> None:
    usage = data.draw(objects(NAMES[kind if kind in NAMES else "openai"]))
    fields = {"usageMetadata" if kind == "gemini" else "usage": usage, "service_tier": data.draw(SCALARS)}
    stated = read_whole(kind, endpoint, fields)
    assert_sane(stated)
    if endpoint != "embeddings":
        try:
            assert_sane(read_stream(kind, endpoint, fields))
        except BadReply:
            pytest.fail("usage made a stream unreadable")


def test_what_is_read_can_be_priced() -> None:
    """No reading of a recorded reply is inconsistent for the model that it is of."""
    book = shipped_price_book()
    seen = Counter[str]()
    for extractors, model, body in RECORDED["replies"]:
        for provider, flavor in RECORDED["extractors"][extractors]:
            if (provider, flavor) not in READERS or model is None:
                continue
            stated = read_whole(*READERS[provider, flavor], body)
            if isinstance(stated, Usage):
                cost = price(
                    book.schedule(provider, model).table(1_795_000_000_000_000), quantities_of(stated)
                )
                seen[cost.unknown or "priced"] += 1
    print(seen)
    assert seen["inconsistent_usage"] == 0
    assert seen["priced"] > 1000
