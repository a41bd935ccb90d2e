"""Settings of the client APIs beside OpenAI's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast

from llm_gateway.core.secret import Secret
from llm_gateway.settings.values import setting, split_at_commas

ClientApi = Literal["openai", "ping", "agents", "query"]
_ALL: Final[tuple[ClientApi, ...]] = ("openai", "ping", "agents", "query")


def _read_names(text: str) -> tuple[ClientApi, ...]:
    names = tuple(dict.fromkeys(name.lower() for name in split_at_commas(text)))
    unknown = next((name for name in names if name not in _ALL), None)
    if unknown is not None:
        raise ValueError(f"{unknown!r} is no client API; name some of {', '.join(_ALL)}")
    if not names:
        raise ValueError(f"it names no client API; name some of {', '.join(_ALL)}")
    return cast("tuple[ClientApi, ...]", names)


@dataclass(frozen=True, kw_only=True)
class ClientApiSettings:
    """Which client APIs are served, and how."""

    surfaces: tuple[ClientApi, ...] = setting(
        _ALL,
        read=_read_names,
        description="Client APIs that are served, comma-separated: openai (/v1), ping (/api/llm), agents"
        " (/internal/llm), query (/api/query, /v1/gateway).",
    )
    token_secret: Secret | None = setting(
        None,
        description="ping: secret that signs the tokens of POST /generate-token, and that it asks for. Unset: tokens"
        " are neither made nor accepted.",
    )
    token_lifetime: float = setting(
        86_400.0, gt=0, le=31_536_000, description="ping: seconds for which a generated token is valid."
    )
    allow_default_token: bool = setting(
        False,
        description="ping: accept the token 1, and requests without a token, as the user default_user. Anyone who"
        " reaches the gateway can then use its models.",
    )
    rate_limit: int = setting(
        120, ge=0, description="ping: requests per minute of each caller; 0 rejects all."
    )
    default_model: str = setting("gpt-4", description="ping: model of requests that name none.")
    default_max_tokens: int = setting(
        2000, ge=1, description="ping: tokens that a reply may have if the request does not say."
    )
    default_temperature: float = setting(
        0.7, ge=0, le=2, description="ping: temperature of requests that state none."
    )
    retry_attempts: int = setting(
        3, ge=1, le=100, description="ping: attempts for a request in all, the first included."
    )
    llm_proxy_secret: Secret | None = setting(
        None,
        description="agents: secret that clients send as X-Internal-Secret. Unset: the API answers 503.",
    )
    agent_rate_limit: int = setting(
        10,
        ge=0,
        description="agents: requests per minute of each agent, unless the credential surface:agents has"
        " agent_limits; 0 rejects all.",
    )
    log_queries: bool = setting(
        False, description="query: log the text of each query, as a line of JSON on standard output."
    )
