"""LiteLLM's configurations as people write them: each field is mapped, dropped with its reason, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.flow.config.files.contents import FileContents
from llm_gateway.flow.config.files.nodes import InvalidConfigFile
from llm_gateway.flow.config.files.reading import read_config_file
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.prices import PriceUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from llm_gateway.providers.registry import KINDS

# Deployments in two regions, a provider without a kind here, a server of one's own, and settings of all sections.
REGIONS = """\
model_list:
  - model_name: gpt-4o ### the public name ###
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://endpoint-europe.openai.azure.com/
      api_key: "os.environ/AZURE_API_KEY_EU"
      api_version: 2024-10-21
      rpm: 6
      weight: 3
      timeout: 300
      stream_timeout: 60
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-ca
      api_base: os.environ/AZURE_BASE_CA
      api_key: "os.environ/AZURE_API_KEY_CA"
      weight: 1
  - model_name: bedrock-claude
    litellm_params:
      model: bedrock/anthropic.claude-instant-v1
      aws_region_name: us-east-1
  - model_name: vllm-models
    litellm_params:
      model: openai/facebook/opt-125m
      api_base: http://0.0.0.0:4000/v1
      api_key: none
      max_retries: 2
    model_info:
      version: 2
  - model_name: claude
    litellm_params: {model: claude-sonnet-4-5, temperature: 0.2, max_tokens: 4096}
litellm_settings:
  drop_params: True
  num_retries: 3
  success_callback: ["langfuse"]
  context_window_fallbacks: [{"vllm-models": ["gpt-4o"]}]
  fallbacks: [{"vllm-models": ["claude"]}]
router_settings:
  routing_strategy: simple-shuffle
  model_group_alias: {"gpt-4": "gpt-4o", "old": {"model": "nothing", "hidden": true}}
  fallbacks: [{"vllm-models": ["gpt-4o"]}, {"*": ["claude"]}]
  redis_host: localhost
general_settings:
  master_key: sk-1234
  alerting: ["slack"]
environment_variables:
  REDIS_PORT: "6379"
guardrails: []
"""
# Wildcards, bare names, shared credentials and prices, as in files for many models.
WILDCARDS = """\
credential_list:
  - credential_name: azure-main
    credential_values: {api_key: os.environ/AZURE_API_KEY, api_base: "https://main.openai.azure.com"}
model_list:
  - model_name: "*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}
  - model_name: "anthropic/*"
    litellm_params: {model: "anthropic/*", api_key: os.environ/ANTHROPIC_API_KEY}
  - model_name: "gpt-*"
    litellm_params: {model: "openai/gpt-*", api_key: os.environ/OPENAI_API_KEY, weight: 2}
  - model_name: everything
    litellm_params: {model: "*"}
  - model_name: o4-mini
    litellm_params:
      model: o4-mini
      input_cost_per_token: 0.0000011
      output_cost_per_token: 4.4e-06
    model_info: {cache_read_input_token_cost: 2.75e-07, mode: chat, base_model: o4-mini}
  - model_name: mine
    litellm_params: {model: azure/prod, litellm_credential_name: azure-main}
  - model_name: other
    litellm_params: {model: azure/prod, litellm_credential_name: absent}
  - model_name: image
    litellm_params: {model: dall-e-3}
  - model_name: embed
    litellm_params: {model: text-embedding-3-small, api_key: sk-in-clear}
  - model_name: embed
    litellm_params: {model: text-embedding-3-large, api_key: sk-in-clear}
  - model_name: local
    litellm_params: {model: ollama_chat/llama3, api_base: "http://localhost:11434"}
  - model_name: strange
    litellm_params: {model: nobody/x}
  - model_name: bare
    litellm_params: {model: llama-3}
  - model_name: bare-here
    litellm_params: {model: llama-3, api_base: "http://10.0.0.1:8000"}
  - model_name: azure-nowhere
    litellm_params: {model: azure/x}
  - model_name: theft
    litellm_params: {model: openai/x, api_key: os.environ/ADMIN_KEY}
  - model_name: unset
    litellm_params: {model: openai/x, api_base: os.environ/NOT_SET}
"""
ENVIRON = {"AZURE_BASE_CA": "https://endpoint-canada.openai.azure.com"}


def read(text: str) -> FileContents:
    return read_config_file(
        text.encode(), KINDS, environ=ENVIRON, forbidden_variables=frozenset({"ADMIN_KEY"})
    )


def providers(contents: FileContents) -> dict[str, dict[str, Any]]:
    found = {}
    for update in contents.updates:
        if isinstance(update, ProviderUpdate):
            fields = update.given()
            if "secret" in fields:
                fields["secret"] = fields["secret"].reveal()
            found[str(fields.pop("provider_key"))] = fields
    return found


def models(contents: FileContents) -> dict[str, dict[str, Any]]:
    given = [update.given() for update in contents.updates if isinstance(update, ModelUpdate)]
    return {str(fields.pop("name")): fields for fields in given}


def verdicts(contents: FileContents) -> dict[str, str]:
    return {finding.path: finding.verdict for finding in contents.findings}


def reason(contents: FileContents, path: str) -> str:
    return next(finding.message for finding in contents.findings if finding.path == path)


def test_deployments_become_providers() -> None:
    contents = read(REGIONS)
    assert contents.format == "litellm"
    assert providers(contents) == {
        "azure-endpoint-europe": {
            "provider_type": "azure",
            "api_base": "https://endpoint-europe.openai.azure.com/",
            "secret": "env:AZURE_API_KEY_EU",
            "model_mapping": {"gpt-4o": "gpt-4o-eu", "gpt-4": "gpt-4o-eu"},
            "api_version": "2024-10-21",
        },
        "azure-endpoint-canada": {
            "provider_type": "azure",
            "api_base": "https://endpoint-canada.openai.azure.com",
            "secret": "env:AZURE_API_KEY_CA",
            "model_mapping": {"gpt-4o": "gpt-4o-ca", "gpt-4": "gpt-4o-ca"},
        },
        "openai": {
            "provider_type": "openai",
            "api_base": "http://0.0.0.0:4000/v1",
            "secret": "none",
            "model_mapping": {"vllm-models": "facebook/opt-125m"},
        },
        "anthropic": {
            "provider_type": "anthropic",
            "secret": "env:ANTHROPIC_API_KEY",
            "model_mapping": {"claude": "claude-sonnet-4-5"},
        },
    }


def test_settings_become_those_of_models() -> None:
    found = models(read(REGIONS))
    assert found["gpt-4o"] == {
        "weights": {"azure-endpoint-europe": 3, "azure-endpoint-canada": 1},
        "timeouts": Timeouts(total=300, first_content=60),
        "strategy": "weighted_random",
        "fallbacks": ("claude",),
    }
    # An alias is served as its model is.
    assert found["gpt-4"]["weights"] == found["gpt-4o"]["weights"]
    assert found["vllm-models"] == {
        "retry": RetryRules(max_retries=2),
        "fallbacks": ("gpt-4o",),
        "context_fallbacks": ("gpt-4o",),
    }
    # Its only fallback would be itself.
    assert "claude" not in found


def test_each_field_has_a_finding() -> None:
    contents = read(REGIONS)
    found = verdicts(contents)
    expected = {
        "model_list[0].model_name": "mapped",
        "model_list[0].litellm_params.model": "mapped",
        "model_list[0].litellm_params.api_base": "mapped",
        "model_list[0].litellm_params.api_key": "mapped",
        "model_list[0].litellm_params.api_version": "mapped",
        "model_list[0].litellm_params.rpm": "dropped",
        "model_list[0].litellm_params.weight": "mapped",
        "model_list[0].litellm_params.timeout": "mapped",
        "model_list[0].litellm_params.stream_timeout": "mapped",
        "model_list[2]": "refused",
        "model_list[3].litellm_params.max_retries": "mapped",
        "model_list[3].model_info.version": "dropped",
        "model_list[4].litellm_params.api_key": "mapped",
        "model_list[4].litellm_params.temperature": "dropped",
        "litellm_settings.drop_params": "dropped",
        "litellm_settings.num_retries": "dropped",
        "litellm_settings.success_callback": "dropped",
        "litellm_settings.context_window_fallbacks[0].vllm-models": "mapped",
        # The router's win.
        "litellm_settings.fallbacks[0].vllm-models": "dropped",
        "router_settings.fallbacks[0].vllm-models": "mapped",
        "router_settings.fallbacks[1].*": "mapped",
        "router_settings.routing_strategy": "mapped",
        "router_settings.model_group_alias.gpt-4": "mapped",
        "router_settings.model_group_alias.old": "refused",
        "router_settings.redis_host": "dropped",
        "general_settings.master_key": "dropped",
        "general_settings.alerting": "dropped",
        "environment_variables.REDIS_PORT": "dropped",
        "guardrails": "dropped",
    }
    assert expected.items() <= found.items()
    assert all(finding.message for finding in contents.findings)
    assert "bedrock" in reason(contents, "model_list[2]")
    assert "ADMIN_KEY" in reason(contents, "general_settings.master_key")
    assert not any("sk-1234" in str(finding) for finding in contents.findings)


def test_wildcards_names_and_keys() -> None:
    contents = read(WILDCARDS)
    found = providers(contents)
    assert {name: fields["model_mapping"] for name, fields in found.items()} == {
        "openai": {"*": "*", "gpt-*": "*", "o4-mini": "o4-mini"},
        "azure-main": {"mine": "prod"},
        "openai-2": {"embed": "text-embedding-3-small"},
        # One provider has one name for a model, so the second deployment is a provider of its own.
        "openai-3": {"embed": "text-embedding-3-large"},
        "ollama": {"local": "llama3"},
        "openai-4": {"bare-here": "llama-3"},
    }
    assert found["openai"]["secret"] == "env:OPENAI_API_KEY"
    assert found["azure-main"]["secret"] == "env:AZURE_API_KEY"
    assert found["openai-2"]["secret"] == found["openai-3"]["secret"] == "sk-in-clear"
    assert "secret" not in found["ollama"]
    refused = [finding.path for finding in contents.findings if finding.verdict == "refused"]
    assert refused == [f"model_list[{number}]" for number in (1, 3, 6, 7, 11, 12, 14, 15, 16)]
    assert "PROVIDER_SUFFIX=anthropic" in reason(contents, "model_list[1]")
    assert verdicts(contents)["model_list[2].litellm_params.weight"] == "dropped"
    assert not any("sk-in-clear" in str(finding) for finding in contents.findings)


def test_costs_per_token_become_prices_per_million() -> None:
    contents = read(WILDCARDS)
    (price,) = [update for update in contents.updates if isinstance(update, PriceUpdate)]
    assert (price.provider, price.upstream_model) == ("openai", "o4-mini")
    assert price.prices == {"input_tokens": "1.1", "output_tokens": "4.4", "cache_read_tokens": "0.275"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_list: {a: 1}\n", "line 1: model_list must be a list"),
        (
            "model_list:\n- litellm_params: {model: openai/x}\n",
            "line 2: model_list[0].model_name is required",
        ),
        ("model_list:\n- model_name: x\n", "line 2: model_list[0].litellm_params is required"),
        (
            "model_list:\n- model_name: x\n  litellm_params: {}\n",
            "line 3: model_list[0].litellm_params.model is required",
        ),
        (
            "model_list:\n- model_name: x\n  litellm_params: {model: openai/x, timeout: 1e400}\n",
            "line 3: model_list[0].litellm_params.timeout must be a number",
        ),
        (
            "model_list:\n- model_name: x\n  litellm_params: {model: openai/x, input_cost_per_token: .nan}\n",
            "line 3: model_list[0].litellm_params.input_cost_per_token must be a number",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidConfigFile) as raised:
        read(text)
    assert message in str(raised.value)
