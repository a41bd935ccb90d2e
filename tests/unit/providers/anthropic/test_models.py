"""Which capabilities the name of a model implies."""

from __future__ import annotations

import pytest

from llm_gateway.providers.anthropic.models import (
    NEWEST_VERSION,
    SAMPLING_VERSION,
    capabilities_of,
    is_same_model,
)


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-fable-5-2", 128_000), ("claude-opus-5-5", 128_000), ("claude-sonnet-4-6", 128_000),
        ("claude-haiku-4-5-20251001", 64_000), ("claude-opus-4-1-20250805", 32_000),
        ("claude-opus-4-20250514", 32_000), ("anthropic.claude-sonnet-4-20250514-v1:0", 32_000),
        ("claude-3-7-sonnet-20250219", 32_000), ("claude-3-5-haiku-20241022", 8_192),
        ("claude-3-opus-20240229", 4_096), ("claude-of-tomorrow", 128_000), ("deepseek-chat", 8_192),
    ],
)  # fmt: skip
def test_output_limits(model: str, most: int) -> None:
    assert capabilities_of(model).max_tokens == most


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("claude-3-5-sonnet-20241022", "never"), ("claude-3-7-sonnet-20250219", "budget"),
        ("claude-opus-4-5", "budget"), ("claude-opus-4-6", "adaptive"), ("claude-opus-5-4", "adaptive"),
        ("claude-opus-5-5", "always"), ("claude-sonnet-5-5", "adaptive"), ("claude-fable-5", "always"),
        ("claude-mythos-preview", "always"), ("glm-5", "budget"),
    ],
)  # fmt: skip
def test_kinds_of_thinking(model: str, thinking: str) -> None:
    assert capabilities_of(model).thinking == thinking


@pytest.mark.parametrize(
    ("model", "efforts"),
    [
        ("claude-sonnet-4-5", ()), ("claude-opus-4-5", ("low", "medium", "high")),
        ("claude-sonnet-4-6", ("low", "medium", "high", "max")),
        ("claude-opus-4-7", ("low", "medium", "high", "xhigh", "max")), ("deepseek-chat", ()),
    ],
)  # fmt: skip
def test_effort_levels(model: str, efforts: tuple[str, ...]) -> None:
    assert capabilities_of(model).efforts == efforts


def test_sampling_ends_with_4_7_and_both_parameters_with_4_1() -> None:
    samples = {
        name: (found.samples, found.samples_both)
        for name in ("claude-opus-4-7", "claude-opus-4-6", "claude-opus-4-1", "claude-opus-4-0", "qwen3")
        for found in [capabilities_of(name)]
    }
    assert samples == {
        "claude-opus-4-7": (False, False), "claude-opus-4-6": (True, False), "claude-opus-4-1": (True, False),
        "claude-opus-4-0": (True, True), "qwen3": (True, True),
    }  # fmt: skip


def test_defaults_of_thinking_change_with_the_version() -> None:
    assert [capabilities_of(f"claude-opus-{at}").thinks_unasked for at in ("4-7", "5")] == [False, True]
    assert [capabilities_of(f"claude-opus-{at}").hides_thinking for at in ("4-6", "4-7")] == [False, True]


def test_only_other_servers_get_the_older_api_version_by_default() -> None:
    assert capabilities_of("claude-3-haiku-20240307").version == NEWEST_VERSION
    assert capabilities_of("minimax-m2").version == SAMPLING_VERSION


def test_unknown_claude_models_count_as_the_newest() -> None:
    assert capabilities_of("claude-atlas-7").thinking == "adaptive"
    assert capabilities_of("claude-haiku-5-5").efforts[-1] == "max"


def test_every_spelling_of_a_name_is_read() -> None:
    spellings = (
        "claude-opus-4-5", "claude-opus-4-5-20251101", "anthropic.claude-opus-4-5-v1:0", "claude-opus-4.5",
        "claude-4-5-opus",
    )  # fmt: skip
    assert {capabilities_of(name) for name in spellings} == {capabilities_of("claude-opus-4-5")}
    assert all(is_same_model(spellings[0], name) for name in spellings)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("claude-opus-4-5", "claude-opus-4-6"), ("claude-opus-4-5", "claude-sonnet-4-5"),
        ("claude-opus-5", "glm-5"), ("glm-5", "claude-opus-5"),
    ],
)  # fmt: skip
def test_different_models_are_not_the_same(name: str, other: str) -> None:
    assert not is_same_model(name, other)


def test_names_of_other_servers_are_not_compared() -> None:
    assert is_same_model("glm-5", "GLM-5-0707")
