"""The addresses of the presets and their differences from OpenAI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_gateway.core.ledger.usage import StatedUsage, Usage, UsageDetails
from llm_gateway.core.secret import Secret
from llm_gateway.providers.openai.presets import OPENAI, PRESETS
from llm_gateway.providers.registry import ADAPTERS
from tests.fakes.openai_requests import body, enabled_provider, encoded, model_request

WIRE = Path(__file__).parents[3] / "wire"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.kind.name)
def test_a_preset_goes_to_its_documented_address(preset: Any) -> None:
    sent = encoded(preset.kind.name, model_request())
    assert sent.url == f"{preset.kind.default_api_base}/chat/completions"
    listed = preset.models_request(enabled_provider(preset.kind.name, secret=Secret("sk-1")))
    assert listed.url == f"{preset.kind.default_api_base}/models"
    assert listed.headers["authorization"] == "Bearer sk-1"


def test_s2_2_local_servers_need_no_key() -> None:
    bases = {
        kind: ADAPTERS[kind].kind.default_api_base for kind in ("ollama", "vllm", "llamacpp", "lmstudio")
    }
    assert bases == {
        "ollama": "http://localhost:11434/v1",
        "vllm": "http://localhost:8000/v1",
        "llamacpp": "http://localhost:8080/v1",
        "lmstudio": "http://localhost:1234/v1",
    }
    assert "authorization" not in encoded("ollama", model_request()).headers


@pytest.mark.parametrize("kind", ["mistral", "deepseek", "ollama", "llamacpp", "together"])
def test_max_completion_tokens_is_renamed_for_servers_that_only_know_max_tokens(kind: str) -> None:
    assert body(encoded(kind, model_request(max_completion_tokens=7))) == {"model": "m", "max_tokens": 7}
    both = body(encoded(kind, model_request(max_tokens=9, max_completion_tokens=7)))
    assert both["max_tokens"] == 7
    assert "max_completion_tokens" not in body(encoded(kind, model_request(max_completion_tokens=None)))
    assert body(encoded(kind, model_request(max_completion_tokens=None, max_tokens=5)))["max_tokens"] == 5


@pytest.mark.parametrize("kind", ["openai", "vllm", "groq", "xai", "openrouter", "azure"])
def test_max_completion_tokens_stays_for_servers_that_know_it(kind: str) -> None:
    sent = encoded(kind, model_request(max_completion_tokens=7), api_base="https://x.test/v1")
    assert body(sent)["max_completion_tokens"] == 7


def test_stream_options_are_not_sent_to_a_server_that_rejects_them() -> None:
    unasked = encoded("mistral", model_request(stream=True))
    assert (body(unasked), unasked.ignored_fields) == ({"stream": True, "model": "m"}, ())
    wanted = encoded("mistral", model_request(stream=True, stream_options={"include_usage": True}))
    assert (body(wanted), wanted.ignored_fields) == ({"stream": True, "model": "m"}, ("stream_options",))
    nothing = encoded("mistral", model_request(stream=True, stream_options=None))
    assert (body(nothing), nothing.ignored_fields) == ({"stream": True, "model": "m"}, ())


def test_openai_serves_all_endpoints() -> None:
    assert set(OPENAI.endpoints) == {"chat/completions", "completions", "embeddings", "responses"}


@pytest.mark.parametrize(
    ("recording", "tokens", "cached", "reasoning"),
    [
        ("mistral/usage-on-the-last-chunk", (16, 34), 0, 0),
        ("deepseek/keep-alive-and-reasoning", (17, 9), 16, 5),
        ("groq/own-usage-field", (18, 4), 0, 0),
        ("ollama/reasoning", (11, 5), 0, 0),
        ("openrouter/processing-comments", (9, 2), 0, 0),
    ],
)
def test_usage_is_read_wherever_a_provider_reports_it(
    recording: str, tokens: tuple[int, int], cached: int, reasoning: int
) -> None:
    kind = recording.split("/", maxsplit=1)[0]
    reader = ADAPTERS[kind].stream(model_request(stream=True), event_limit=1 << 20)
    reader.feed((WIRE / f"{recording}.sse").read_bytes())
    usage = reader.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == tokens
    assert (usage.cached_tokens, usage.reasoning_tokens) == (cached, reasoning)
    assert reader.finished


def priced(kind: str, usage: dict[str, Any], **fields: Any) -> Usage | StatedUsage | None:
    """Return what a stream of a chat states that ends with `usage`."""
    reader = ADAPTERS[kind].stream(model_request(stream=True, **fields), event_limit=1 << 20)
    choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}
    for event in ({"choices": [choice]}, {"choices": [], "usage": usage, "service_tier": "default"}):
        reader.feed(b"data: " + msgspec.json.encode(event) + b"\n\n")
    return reader.usage


COUNTS = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.mark.parametrize(
    ("kind", "stated", "nano_usd"),
    [
        ("openrouter", {"cost": 0.1000000005}, 100_000_000),
        ("xai", {"cost_in_usd_ticks": 37_756_000}, 3_775_600),
        # A field named `cost` is not money wherever it is.
        ("openrouter", {"cost_in_usd_ticks": 37_756_000}, None),
        ("xai", {"cost": 0.5}, None),
        *(
            (kind, {"cost": 0.5, "cost_in_usd_ticks": 5000}, None)
            for kind in ("openai", "vllm", "groq", "azure")
        ),
    ],
)
def test_only_providers_that_are_known_to_state_costs_are_believed(
    kind: str, stated: dict[str, Any], nano_usd: int | None
) -> None:
    details = None if nano_usd is None else UsageDetails(cost_nano_usd=nano_usd)
    expected = Usage(10, 5, 15, details=details)
    assert priced(kind, {**COUNTS, **stated}) == expected
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    whole = {"choices": [choice], "usage": {**COUNTS, **stated}, "service_tier": "default"}
    for text in (msgspec.json.encode(whole), b"data: " + msgspec.json.encode(whole) + b"\n\n"):
        assert ADAPTERS[kind].decode(text, model_request()).usage == expected


def test_a_stream_shows_which_tier_served_a_request_for_another() -> None:
    assert priced("openai", COUNTS) == Usage(10, 5, 15)
    details = UsageDetails(served_tier="default")
    assert priced("openai", COUNTS, service_tier="priority") == Usage(10, 5, 15, details=details)


def test_perplexitys_agent_api_states_its_cost_and_searches() -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 20,
        "total_tokens": 120,
        "input_tokens_details": {"cache_read_input_tokens": 40, "cache_creation_input_tokens": 30},
        "tool_calls_details": {"search_web": {"invocation": 3}},
        "cost": {"currency": "USD", "input_cost": 0.0001, "tool_calls_cost": 0.015, "total_cost": 0.0152},
    }
    response = {"status": "completed", "output": [{"type": "message"}], "usage": usage}
    asked = model_request("responses", input="a")
    searches: dict[str, int | float] = {"web_searches": 3}
    details = UsageDetails(quantities=searches, cost_nano_usd=15_200_000)
    expected = Usage(100, 20, 120, 40, 0, "provider", 30, details)
    perplexity = ADAPTERS["perplexity"]
    assert perplexity.decode(msgspec.json.encode(response), asked).usage == expected
    reader = perplexity.stream(asked, event_limit=1 << 20)
    reader.whole(msgspec.json.encode(response))
    assert reader.usage == expected
