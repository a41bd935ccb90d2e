"""The gateway's own format, whose core is the config.yaml that S2 documents."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.flow.config.files.contents import FileContents
from llm_gateway.flow.config.files.gateway_reading import read_gateway_file
from llm_gateway.flow.config.files.nodes import InvalidConfigFile, read_yaml
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.prices import PriceUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from llm_gateway.flow.config.rows.task_types import TaskTypeUpdate

# As S2 documents it.
DOCUMENTED = """\
providers:
  openai:
    base_url: "https://api.openai.com/v1"
    api_key_env: "OPENAI_API_KEY"

  local:
    base_url: "http://localhost:11434"

models:
  gpt-4.1-mini:
    provider: "openai"
    physical_name: "gpt-4-1106-preview"
    cost_per_1k_prompt: 0.01
    cost_per_1k_completion: 0.03
"""
EVERYTHING = """\
providers:
  a:
    provider_type: openai
    base_url: http://a.example/v1
    api_key_env: A_KEY
    model_mapping: {"gpt-*": "*", b: c}
    weight: 3
    is_enabled: no
    oauth2: {token_url: https://token.example, client_id: me, scope: all}
    api_version: 2024-10-21
    stream_usage: false
    probe_interval: 30.5
    price_provider: openai
  b:
    base_url: http://b.example
    api_key: sk-in-clear
  c:
    api_key_env:
    oauth2: null
    probe_interval: null
models:
  m:
    provider: a
    strategy: least_busy
    weights: {a: 2, b: 0}
    fallbacks: [n]
    context_fallbacks: [o]
    policy_fallbacks: []
    timeouts: {connect: 1, first_content: 2.5, idle: 3, total: 4}
    retry: {max_retries: 0, initial_backoff_ms: 10, max_backoff_ms: 20, backoff_factor: 1.5, jitter: 0,
      retry_cut: off}
    affinity: user
    cache: {is_enabled: true, ttl: 60, is_shared: yes}
  n:
    cache: null
prices:
  - provider: a
    upstream_model: gpt-*
    prices: {input_tokens: 2.50, output_tokens: "1e1"}
    valid_from: 2026-01-01
    valid_until: 2026-02-01T00:00:00+01:00
task_types:
  summarization: [m, n]
"""


def read(text: str) -> FileContents:
    return read_gateway_file(read_yaml(text.encode()), frozenset({"ADMIN_KEY"}))


def given(contents: FileContents, kind: type[Any]) -> list[dict[str, Any]]:
    return [update.given() for update in contents.updates if isinstance(update, kind)]


def revealed(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value.reveal() if name == "secret" and value else value for name, value in fields.items()}


def test_s2_13_s2_14_the_documented_file() -> None:
    contents = read(DOCUMENTED)
    assert [revealed(one) for one in given(contents, ProviderUpdate)] == [
        {
            "provider_key": "openai",
            "api_base": "https://api.openai.com/v1",
            "secret": "env:OPENAI_API_KEY",
            "model_mapping": {"gpt-4.1-mini": "gpt-4-1106-preview"},
        },
        {"provider_key": "local", "api_base": "http://localhost:11434"},
    ]
    # A cost of 1,000 tokens is a thousandth of the price that the catalog has.
    assert given(contents, PriceUpdate) == [
        {
            "provider": "openai",
            "upstream_model": "gpt-4-1106-preview",
            "prices": {"input_tokens": "10", "output_tokens": "30"},
            "valid_from": None,
            "valid_until": None,
        }
    ]
    assert given(contents, ModelUpdate) == []


def test_everything_that_the_catalog_has() -> None:
    contents = read(EVERYTHING)
    a, b, c = (revealed(one) for one in given(contents, ProviderUpdate))
    assert a == {
        "provider_key": "a",
        "provider_type": "openai",
        "api_base": "http://a.example/v1",
        "secret": "env:A_KEY",
        "model_mapping": {"gpt-*": "*", "b": "c", "m": "m"},
        "weight": 3,
        "is_enabled": False,
        "oauth2": ClientCredentials(token_url="https://token.example", client_id="me", scope="all"),
        "api_version": "2024-10-21",
        "stream_usage": False,
        "probe_interval": 30.5,
        "price_provider": "openai",
    }
    assert b == {"provider_key": "b", "api_base": "http://b.example", "secret": "sk-in-clear"}
    assert c == {"provider_key": "c", "secret": None, "oauth2": None, "probe_interval": None}
    m, n = given(contents, ModelUpdate)
    assert m == {
        "name": "m",
        "strategy": "least_busy",
        "weights": {"a": 2, "b": 0},
        "fallbacks": ("n",),
        "context_fallbacks": ("o",),
        "policy_fallbacks": (),
        "timeouts": Timeouts(connect=1, first_content=2.5, idle=3, total=4),
        "retry": RetryRules(
            max_retries=0,
            initial_backoff_ms=10,
            max_backoff_ms=20,
            backoff_factor=1.5,
            jitter=0,
            retry_cut=False,
        ),
        "affinity": "user",
        "cache": CacheRules(is_enabled=True, ttl=60, is_shared=True),
    }
    assert n == {"name": "n", "cache": None}
    assert given(contents, PriceUpdate) == [
        {
            "provider": "a",
            "upstream_model": "gpt-*",
            "prices": {"input_tokens": "2.5", "output_tokens": "10"},
            "valid_from": 1_767_225_600_000_000,
            "valid_until": 1_769_900_400_000_000,
        }
    ]
    assert given(contents, TaskTypeUpdate) == [{"name": "summarization", "models": ("m", "n")}]
    assert contents.place("provider", "a", "api_base") == "line 4: providers.a.base_url"
    assert contents.place("model", "m", "timeouts.idle") == "line 29: models.m.timeouts"
    assert contents.place("price", "a/gpt-*", "") is not None


BAD = {
    "unknown section": ("providers: {}\nmodles: {}\n", "line 2: modles is unknown; did you mean models?"),
    "unknown field": (
        "providers:\n  a:\n    base_ulr: x\n",
        "line 3: providers.a.base_ulr is unknown; did you mean base_url?",
    ),
    "list of providers": ("providers: [a]\n", "line 1: providers must be fields and their values"),
    "provider as text": (
        "providers:\n  a: http://x\n",
        "line 2: providers.a must be fields and their values",
    ),
    "unknown provider": (
        "models:\n  m:\n    provider: b\n",
        "line 3: models.m.provider names 'b', which is not under providers",
    ),
    "no provider": (
        "models:\n  m:\n    physical_name: x\n",
        "line 3: models.m.physical_name needs a provider",
    ),
    "no number": (
        "providers: {a: }\nmodels:\n  m:\n    provider: a\n    cost_per_1k_prompt: cheap\n",
        "line 5: models.m.cost_per_1k_prompt must be a number",
    ),
    "not a number": (
        "providers: {a: }\nmodels:\n  m:\n    provider: a\n    cost_per_1k_prompt: .nan\n",
        "line 5: models.m.cost_per_1k_prompt must be a number",
    ),
    "huge": (
        "providers: {a: }\nmodels:\n  m:\n    provider: a\n    cost_per_1k_prompt: 1e400\n",
        "line 5: models.m.cost_per_1k_prompt must be a number",
    ),
    "negative": (
        "providers: {a: }\nmodels:\n  m:\n    provider: a\n    cost_per_1k_prompt: -1\n",
        "line 5: models.m.cost_per_1k_prompt must be 0 or more",
    ),
    "two costs": (
        (
            "providers: {a: }\nmodels:\n  m: {provider: a, physical_name: x, cost_per_1k_prompt: 1}\n"
            "  n: {provider: a, physical_name: x, cost_per_1k_prompt: 2}\n"
        ),
        "line 4: models.n.cost_per_1k_prompt differs from what 'x' costs at 'a' by line 3: models.m",
    ),
    "key in place of a name": (
        "providers:\n  a:\n    api_key_env: sk-secret-0123\n",
        "line 3: providers.a.api_key_env must be the name of an environment variable",
    ),
    "own secret": (
        "providers:\n  a:\n    api_key_env: ADMIN_KEY\n",
        "line 3: providers.a.api_key_env must not be ADMIN_KEY",
    ),
    "reference as a key": (
        "providers:\n  a:\n    api_key: env:ADMIN_KEY\n",
        "line 3: providers.a.api_key must be the key itself",
    ),
    "two keys": (
        "providers:\n  a:\n    api_key: x\n    api_key_env: X\n",
        "line 3: providers.a.api_key must not be",
    ),
    "oauth2 without a client": (
        "providers:\n  a:\n    oauth2: {token_url: https://t}\n",
        "line 3: providers.a.oauth2.client_id is required",
    ),
    "price without a model": (
        "prices:\n- provider: a\n  prices: {input_tokens: 1}\n",
        "line 2: prices[0].upstream_model is required",
    ),
    "task type": ("task_types:\n  x: y\n", "line 2: task_types.x must be a list"),
    "long weight": (
        "providers:\n  a:\n    weight: 99999999999\n",
        "line 3: providers.a.weight must be a whole number",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_field_is_named_with_its_line(case: str) -> None:
    text, message = BAD[case]
    with pytest.raises(InvalidConfigFile) as raised:
        read(text)
    assert message in str(raised.value)
    assert "sk-secret" not in str(raised.value)


def test_what_the_older_gateway_listed_of_models_is_dropped_with_a_finding() -> None:
    contents = read("providers: {a: }\nmodels:\n  m: {provider: a, max_tokens: 4096}\n")
    assert [str(finding) for finding in contents.findings] == [
        "models.m.max_tokens (line 3): dropped: the gateway knows no limits of models; providers enforce their own"
    ]
