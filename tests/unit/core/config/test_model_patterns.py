"""Model-name globs, as `allowed_models` and `model_mapping` use them."""

from __future__ import annotations

import pytest

from llm_gateway.core.config.model_patterns import ModelPatterns, is_glob


@pytest.mark.parametrize(
    ("entries", "yes", "no"),
    [
        (("gpt-4",), ["gpt-4"], ["gpt-4o", "GPT-4", "xgpt-4", "", "gpt-4\n"]),
        (("gpt-4*",), ["gpt-4", "gpt-4o", "gpt-4/turbo", "gpt-4\nx"], ["gpt-3", "GPT-4", "my-gpt-4"]),
        (("gpt-?",), ["gpt-4", "gpt-5"], ["gpt-", "gpt-4o"]),
        (("o[13]",), ["o1", "o3"], ["o2", "o[13]"]),
        (("o[!1]",), ["o3"], ["o1"]),
        (("*-mini", "claude-*", "o1"), ["o3-mini", "claude-x", "o1"], ["mini", "claude", "o1x"]),
        (("a.b",), ["a.b"], ["axb"]),
        (("a.*",), ["a.b"], ["axb"]),
        (("m[",), ["m["], ["m"]),
        (("*", "gpt-4"), ["gpt-4", "anything", ""], []),
        ((), [], ["gpt-4", ""]),
        (None, ["gpt-4", ""], []),
    ],
)
def test_c33_a_model_is_allowed_by_name_or_glob(
    entries: tuple[str, ...] | None, yes: list[str], no: list[str]
) -> None:
    patterns = ModelPatterns(entries)
    assert [model for model in yes + no if model in patterns] == yes


def test_c33_left_out_means_all_and_empty_means_none() -> None:
    assert ModelPatterns(None).everything
    assert ModelPatterns(("gpt-4", "*")).everything
    assert not ModelPatterns(()).everything
    assert not ModelPatterns(("?*",)).everything


def test_a_glob_is_told_from_a_name() -> None:
    assert [name for name in ("gpt-4", "gpt-*", "gpt-?", "o[13]", "a]b", "") if is_glob(name)] == [
        "gpt-*",
        "gpt-?",
        "o[13]",
    ]


def test_many_stars_do_not_take_for_ever() -> None:
    assert "a" * 5000 not in ModelPatterns(("*a" * 30 + "b", "*a" * 30 + "c"))
