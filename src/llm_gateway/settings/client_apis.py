"""Settings of the client APIs beside OpenAI's."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from llm_gateway.settings.values import SettingsSection

ClientApi = Literal["openai", "ping", "agents", "query"]
_ALL: Final[tuple[ClientApi, ...]] = ("openai", "ping", "agents", "query")


class ClientApiSettings(SettingsSection):
    """Which client APIs are served, and how."""

    surfaces: Annotated[tuple[ClientApi, ...], NoDecode] = Field(
        _ALL,
        description="Client APIs that are served, comma-separated: openai (/v1), ping (/api/llm), agents"
        " (/internal/llm), query (/api/query, /v1/gateway).",
    )
    token_secret: SecretStr | None = Field(
        None,
        description="ping: secret that signs the tokens of POST /generate-token, and that it asks for. Unset: tokens"
        " are neither made nor accepted.",
    )
    token_lifetime: float = Field(
        86_400.0, gt=0, le=31_536_000, description="ping: seconds for which a generated token is valid."
    )
    allow_default_token: bool = Field(
        False,
        description="ping: accept the token 1, and requests without a token, as the user default_user. Anyone who"
        " reaches the gateway can then use its models.",
    )
    rate_limit: int = Field(120, ge=0, description="ping: requests per minute of each caller; 0 rejects all.")
    default_model: str = Field("gpt-4", description="ping: model of requests that name none.")
    default_max_tokens: int = Field(
        2000, ge=1, description="ping: tokens that a reply may have if the request does not say."
    )
    default_temperature: float = Field(
        0.7, ge=0, le=2, description="ping: temperature of requests that state none."
    )
    retry_attempts: int = Field(
        3, ge=1, le=100, description="ping: attempts for a request in all, the first included."
    )
    llm_proxy_secret: SecretStr | None = Field(
        None,
        description="agents: secret that clients send as X-Internal-Secret. Unset: the API answers 503.",
    )
    agent_rate_limit: int = Field(
        10,
        ge=0,
        description="agents: requests per minute of each agent, unless the credential surface:agents has"
        " agent_limits; 0 rejects all.",
    )
    log_queries: bool = Field(
        False, description="query: log the text of each query, as a line of JSON on standard output."
    )

    @field_validator("surfaces", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = tuple(dict.fromkeys(name.strip().lower() for name in value.split(",") if name.strip()))
        unknown = next((name for name in names if name not in _ALL), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} is no client API; name some of {', '.join(_ALL)}")
        if not names:
            raise ValueError(f"it names no client API; name some of {', '.join(_ALL)}")
        return names
