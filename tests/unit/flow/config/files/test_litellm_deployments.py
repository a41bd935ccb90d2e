"""How deployments find their provider."""

from __future__ import annotations

import pytest

from llm_gateway.flow.config.files.fields import Fields, Problems
from llm_gateway.flow.config.files.litellm_deployments import Deployments
from llm_gateway.flow.config.files.nodes import read_yaml
from llm_gateway.providers.registry import KINDS


def added(*entries: str) -> Deployments:
    made, problems = Deployments(KINDS, {}, frozenset()), Problems()
    for entry in entries:
        made.add(Fields(read_yaml(entry.encode()), "entry", problems))
    assert problems.sentences == []
    return made


def test_deployments_with_one_address_and_key_share_a_provider() -> None:
    made = added(
        "{model_name: a, litellm_params: {model: openai/x, api_key: k}}",
        "{model_name: b, litellm_params: {model: openai/y, api_key: k}}",
        "{model_name: c, litellm_params: {model: openai/z, api_key: other}}",
    )
    assert [(one.key, one.model_mapping) for one in made.providers] == [
        ("openai", {"a": "x", "b": "y"}),
        ("openai-2", {"c": "z"}),
    ]
    assert made.names() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("params", "kind", "upstream"),
    [
        ("model: together_ai/meta/llama", "together", "meta/llama"),
        ("model: hosted_vllm/q, api_base: 'http://x:1'", "vllm", "q"),
        (
            "model: gpt-4, custom_llm_provider: azure, api_base: 'https://x.openai.azure.com'",
            "azure",
            "gpt-4",
        ),
        ("model: openai/gpt-4, custom_llm_provider: openai", "openai", "gpt-4"),
        ("model: org/model, api_base: 'http://x:1'", "openai", "org/model"),
        ("model: 'ft:gpt-4o:me::1'", "openai", "ft:gpt-4o:me::1"),
        ("model: azure/o1_series/mine, api_base: 'https://x.openai.azure.com'", "azure", "mine"),
    ],
)
def test_prefixes_mean_kinds(params: str, kind: str, upstream: str) -> None:
    (provider,) = added(f"{{model_name: m, litellm_params: {{{params}}}}}").providers
    assert (provider.kind, provider.model_mapping) == (kind, {"m": upstream})


@pytest.mark.parametrize("field", ["weight: 2", "timeout: 3", "max_retries: 1"])
def test_settings_that_differ_between_deployments_are_dropped_but_for_weights(field: str) -> None:
    name = field.partition(":")[0]
    made = added(
        f"{{model_name: m, litellm_params: {{model: openai/x, api_key: a, {field}}}}}",
        f"{{model_name: m, litellm_params: {{model: openai/x, api_key: b, {name}: 9}}}}",
    )
    found = [one.verdict for one in made.findings if one.path.endswith(name)]
    assert found == ["mapped", "mapped" if name == "weight" else "dropped"]


def test_a_name_that_is_no_variable_is_refused() -> None:
    made = added("{model_name: m, litellm_params: {model: openai/x, api_key: 'os.environ/A B'}}")
    assert [(one.verdict, "os.environ/" in one.message) for one in made.findings] == [("refused", True)]
