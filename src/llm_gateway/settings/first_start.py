"""What fills the catalog at the first start with a database, and is not read after that."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from llm_gateway.core.secret import Secret
from llm_gateway.settings.values import clean, setting


class _NamedTwice(ValueError):
    """A JSON object has one name twice."""


def _read_services(text: str) -> dict[str, str]:
    expected = (
        'the value must be a JSON object of names and URLs, such as {"llm": "http://llm.internal:8080"}'
    )
    try:
        found = json.loads(text, object_pairs_hook=_each_once)
    except _NamedTwice:
        raise
    except (ValueError, RecursionError):
        raise ValueError(expected) from None
    if not isinstance(found, dict) or not all(
        name.strip() and isinstance(url, str) and url.strip() for name, url in found.items()
    ):
        raise ValueError(expected)
    # JSON's escapes can say characters that no variable holds.
    return {clean(name): clean(url) for name, url in found.items()}


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NamedTwice("the value gives two services the same name")
    return found


@dataclass(frozen=True, kw_only=True)
class FirstStartSettings:
    """Providers and models that an empty catalog is filled with. Addresses are not shown: they may hold passwords."""

    config_file: Path | None = setting(
        None,
        description="File with providers and models, which fills an empty catalog at the first start. Set: the other"
        " variables of this section make no providers.",
    )
    openai_api_key: Secret | None = setting(None, description="Makes the provider openai.")
    openai_base_url: str | None = setting(
        None, is_shown=False, description="Address of the provider openai, if not OpenAI's."
    )
    gemini_api_key: Secret | None = setting(None, description="Makes the provider gemini.")
    gemini_base_url: str | None = setting(
        None, is_shown=False, description="Address of the provider gemini, if not Google's."
    )
    mistral_api_key: Secret | None = setting(None, description="Makes the provider mistral.")
    mistral_base_url: str | None = setting(
        None, is_shown=False, description="Address of the provider mistral, if not Mistral's."
    )
    claude_api_key: Secret | None = setting(None, description="Makes the provider claude.")
    claude_base_url: str | None = setting(
        None, is_shown=False, description="Address of the provider claude, if not Anthropic's."
    )
    deepseek_api_key: Secret | None = setting(None, description="Makes the provider deepseek.")
    deepseek_base_url: str | None = setting(
        None, is_shown=False, description="Address of the provider deepseek, if not DeepSeek's."
    )
    downstream_services: dict[str, str] | None = setting(
        None,
        read=_read_services,
        is_shown=False,
        description='Makes a provider for each service, from JSON such as {"llm": "http://llm.internal:8080"}.',
    )
    api_endpoint: str | None = setting(
        None,
        is_shown=False,
        description="Address of an OpenAI-compatible server; makes the provider primary.",
    )
    model: str | None = setting(
        None, description="Model at API_ENDPOINT that DEFAULT_MODEL means. Unset: DEFAULT_MODEL itself."
    )
    coin_url: str | None = setting(
        None,
        is_shown=False,
        description="OAuth2 token endpoint for API_ENDPOINT, which is asked with CLIENT_ID and CLIENT_SECRET. Unset:"
        " API_ENDPOINT gets no key.",
    )
    client_id: str | None = setting(None, description="OAuth2 client of COIN_URL.")
    client_secret: Secret | None = setting(None, description="Secret of CLIENT_ID.")
    scope: str | None = setting(None, description="OAuth2 scope of tokens from COIN_URL.")
    surl: str | None = setting(
        None,
        is_shown=False,
        description="Address of a second OpenAI-compatible server, for when API_ENDPOINT fails; makes the provider"
        " secondary.",
    )
    skey: Secret | None = setting(None, description="Key for SURL.")
    smodel: str | None = setting(
        None, description="Model that is tried when DEFAULT_MODEL fails, at SURL or else at API_ENDPOINT."
    )

    @property
    def fills_catalog(self) -> bool:
        """Whether a variable says what an empty catalog is to hold."""
        makers = ("config_file", "downstream_services", "api_endpoint", "surl")
        keys = (field.name for field in fields(FirstStartSettings) if field.name.endswith("_api_key"))
        return any(getattr(self, name) is not None for name in (*makers, *keys))
