"""Names against a provider's list of models: only what the list rules out is not listed."""

from __future__ import annotations

import pytest

from llm_gateway.flow.routing.model_list import ModelList

LIST = ModelList(
    [
        "gpt-4o-2024-08-06", "gpt-4o-mini", "models/gemini-2.5-pro", "llama3:latest", "qwen2.5:7b",
        "claude-sonnet-4-5-20250929", "meta/Llama-3-8B", "x/y:free", "gemini-3@20270101",
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o-2024-08-06", "gpt-4o", "GPT-4o-mini", "gemini-2.5-pro", "models/gemini-2.5-pro", "llama3",
        "llama3:latest", "llama3:8b", "qwen2.5", "claude-sonnet-4-5", "claude-sonnet-4-5-latest", "meta/llama-3-8b",
        "x/y", "x/y:nitro", "gemini-3", "ft:gpt-4o:org::1", "tunedModels/mine", "@preset/mine",
        "accounts/a/models/b", "projects/p/locations/l/endpoints/1",
    ],
)  # fmt: skip
def test_a_name_that_may_mean_a_listed_model_is_not_ruled_out(name: str) -> None:
    assert LIST.may_have(name)


@pytest.mark.parametrize(
    "name",
    ["claude-y", "gpt-5", "gpt-4o-mini-2099", "llama", "gemini-2", "qwen3:7b", "x/z:free", ":free", ""],
)
def test_a_name_that_is_not_in_the_list(name: str) -> None:
    assert not LIST.may_have(name)
