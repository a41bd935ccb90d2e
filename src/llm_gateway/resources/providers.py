"""A provider as the admin API and the console take it and show it."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import UNSET
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.resources.shapes import (
    INT_LIMIT,
    Body,
    ModelName,
    RowView,
    Seconds,
    UpdateBody,
    WriteAnswer,
    printable,
    printable_secret,
)
from llm_gateway.resources.times import shown_time

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")


def _usable_key(text: str) -> str:
    printable(text)
    if "/" in text:
        raise ValueError("must not hold a slash: it is part of this provider's path")
    if text.isdigit():
        raise ValueError("must not be a number: that would be taken for an id")
    return text


def _usable_secret(secret: SecretStr) -> SecretStr:
    text = printable_secret(secret).get_secret_value()
    if not text.isascii():
        raise ValueError("must be ASCII, since it is sent in a header")
    if text.startswith("env:") and not _REFERENCE.fullmatch(text):
        raise ValueError("must name one environment variable, as in env:OPENAI_API_KEY")
    return secret


_ProviderKey = Annotated[
    str,
    Field(min_length=1, max_length=128, description="Its name, unique, also in paths."),
    AfterValidator(_usable_key),
]
_ProviderType = Annotated[
    str,
    Field(min_length=1, max_length=64, description="Its kind, `openai` for one."),
    AfterValidator(printable),
]
_ApiBase = Annotated[
    str, Field(min_length=1, max_length=2048, description="Its base URL."), AfterValidator(printable)
]
_ApiKey = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=8192,
        description="The upstream's key, or `env:NAME`; it is never shown again.",
    ),
    AfterValidator(_usable_secret),
]
_Mapping = Annotated[
    dict[ModelName, ModelName],
    Field(
        max_length=10_000,
        description="Public name (or glob) to upstream name; {} serves every name unchanged.",
    ),
]
_Weight = Annotated[
    int, Field(ge=0, le=INT_LIMIT, description="Its share of the requests; 0 takes no new ones.")
]

_ApiVersion = Annotated[
    str,
    Field(min_length=1, max_length=64, description="Azure's `api-version`; null = the kind's own, or none."),
    AfterValidator(printable),
]
_Interval = Annotated[
    Seconds, Field(description="Seconds between health probes, at least 1; null disables them.")
]

_PriceProvider = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="The price book's name for whose prices apply, such as `azure`; null = the kind's, if api_base "
        "has the kind's own host, and unknown prices otherwise.",
    ),
    AfterValidator(printable),
]


class OAuth2Body(Body):
    """OAuth2 client credentials (RFC 6749, 4.4); the client's secret is the provider's api_key."""

    token_url: Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(printable)]
    client_id: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(printable)]
    scope: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(printable)] | None = None


class ProviderChange(UpdateBody):
    """PUT and PATCH: what is left out stays, a masked or left-out api_key keeps the old one, null clears it."""

    # A default_factory only says "may be left out": its value is never used.
    provider_key: _ProviderKey = Field(default_factory=str)
    provider_type: _ProviderType = Field(default_factory=str)
    api_base: _ApiBase = Field(default_factory=str)
    api_key: _ApiKey | None = None
    model_mapping: _Mapping | None = None
    weight: _Weight = Field(default_factory=int)
    is_enabled: bool = Field(default_factory=bool)
    oauth2: OAuth2Body | None = Field(
        None, description="How an access token is obtained; null = api_key itself is sent."
    )
    api_version: _ApiVersion | None = None
    stream_usage: bool | None = Field(
        None, description="Whether it accepts `stream_options`; null = as its kind does."
    )
    probe_interval: _Interval | None = None
    price_provider: _PriceProvider | None = None

    def update(self) -> ProviderUpdate:
        given = self.given()
        if "api_key" in given:
            given["secret"] = _secret(given.pop("api_key"))
        if "model_mapping" in given:
            given["model_mapping"] = given["model_mapping"] or {}
        if given.get("oauth2") is not None:
            given["oauth2"] = ClientCredentials(**given["oauth2"].model_dump())
        return ProviderUpdate(**given)


class NewProvider(ProviderChange):
    """POST."""

    provider_key: _ProviderKey
    provider_type: _ProviderType
    weight: _Weight = 1
    is_enabled: bool = True


class ProviderView(RowView):
    """A provider as lists show it."""

    id: int
    provider_key: str
    provider_type: str
    api_base: str
    api_key: str | None = Field(description="Masked, or `env:NAME`.")
    model_mapping: dict[str, str] | None = Field(description="null: what is stored cannot be read.")
    weight: int | None = Field(description="null: what is stored cannot be read.")
    is_enabled: bool
    oauth2: OAuth2Body | None
    api_version: str | None
    stream_usage: bool | None
    probe_interval: float | None
    price_provider: str | None
    created_at: str | None = Field(description="null: what is stored cannot be read.")
    updated_at: str | None


class WrittenProvider(ProviderView, WriteAnswer):
    """A provider after a write."""


class ProviderPage(BaseModel):
    """One page of providers, by id."""

    data: list[ProviderView]
    next_cursor: str | None


_NULLABLE = ("model_mapping", "weight", "stream_usage", "probe_interval")


def shown(row: StoredProvider, warnings: list[str]) -> dict[str, Any]:
    """Return a stored provider as an admin sees it; warnings only if there are any."""
    oauth2 = row.oauth2
    return msgspec.structs.asdict(row) | {
        **{name: None for name in _NULLABLE if getattr(row, name) is UNSET},
        "is_enabled": row.is_enabled is True,
        # Not validated: an invalid row has to be shown too, to be repaired.
        "oauth2": (
            OAuth2Body.model_construct(**msgspec.structs.asdict(oauth2))
            if isinstance(oauth2, ClientCredentials)
            else None
        ),
        "created_at": shown_time(row.created_at),
        "updated_at": shown_time(row.updated_at),
        **({"warnings": warnings} if warnings else {}),
    }


def _secret(given: SecretStr | None) -> Secret | None:
    return None if given is None else Secret(given.get_secret_value())
