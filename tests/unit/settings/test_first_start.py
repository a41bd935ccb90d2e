"""What fills a catalog, and services as JSON."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.settings.first_start import FirstStartSettings
from llm_gateway.settings.reading import InvalidSettings, read_settings


def settings(**values: Any) -> FirstStartSettings:
    return read_settings(FirstStartSettings, {name.upper(): str(value) for name, value in values.items()})


@pytest.mark.parametrize(
    ("name", "fills"),
    [
        ("config_file", True),
        ("openai_api_key", True),
        ("claude_api_key", True),
        ("api_endpoint", True),
        ("surl", True),
        ("openai_base_url", False),
        ("model", False),
        ("client_secret", False),
    ],
)
def test_some_variables_make_rows(name: str, fills: bool) -> None:
    assert settings(**{name: "x"}).fills_catalog is fills


def test_nothing_is_made_by_default() -> None:
    assert not settings().fills_catalog


def test_s0_26_services_are_json() -> None:
    made = settings(downstream_services='{"llm": "http://llm:8080", " b ": "http://b"}')
    assert made.downstream_services == {"llm": "http://llm:8080", "b": "http://b"}
    assert made.fills_catalog


@pytest.mark.parametrize(
    "value",
    [
        "{",
        "[]",
        '"x"',
        '{"a": 1}',
        '{"a": ""}',
        '{"": "http://x"}',
        '{"a": null}',
        "[" * 100_000,
        "llm=http://x",
    ],
)
def test_other_text_is_refused(value: str) -> None:
    with pytest.raises(InvalidSettings, match="JSON object of names and URLs"):
        settings(downstream_services=value)


def test_a_service_is_named_once() -> None:
    with pytest.raises(InvalidSettings, match="gives two services the same name"):
        settings(downstream_services='{"a": "http://x", "a": "http://y"}')


@pytest.mark.parametrize("character", ["\\ud800", "\\u0000", "\\u0085", "\\n"])
def test_a_service_is_text_that_a_variable_could_hold(character: str) -> None:
    for value in (f'{{"a{character}b": "http://x"}}', f'{{"a": "http://x/{character}b"}}'):
        with pytest.raises(InvalidSettings, match=r"control character|not UTF-8"):
            settings(downstream_services=value)


@pytest.mark.parametrize(
    "name", ["openai_base_url", "gemini_base_url", "mistral_base_url", "claude_base_url", "deepseek_base_url",
             "api_endpoint", "coin_url", "surl", "downstream_services"],
)  # fmt: skip
def test_an_address_is_not_shown(name: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        settings(**{name: "http://me:hush@host/\x00"})
    assert "hush" not in str(caught.value)
    value = '{"a": "http://me:hush@host"}' if name == "downstream_services" else "http://me:hush@host"
    assert "hush" not in repr(settings(**{name: value}))
