"""The client APIs that are served, as the settings say. Those that are not served are not imported."""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from loguru import logger

from llm_gateway.settings import Settings

if TYPE_CHECKING:
    from llm_gateway.surfaces.agents.options import AgentsOptions
    from llm_gateway.surfaces.base import Surface
    from llm_gateway.surfaces.ping.options import PingOptions

# Seconds for a request to dgen-ping's API, unless LLM_TIMEOUT says otherwise.
_PING_TIMEOUT: Final = 60.0


def client_apis(settings: Settings) -> tuple[Surface, ...]:
    """Return the surfaces that SURFACES names."""
    return tuple(_MAKERS[name](settings) for name in settings.surfaces)


def warn_of_client_apis(settings: Settings) -> None:
    """Log what an operator should know of the surfaces' settings; for the start, once for all workers."""
    warnings: list[str] = []
    if "ping" in settings.surfaces:
        warnings += _ping_options(settings).warnings()
    if "agents" in settings.surfaces:
        warnings += _agents_options(settings).warnings()
    for warning in warnings:
        logger.warning("{}", warning)


def _openai(settings: Settings) -> Surface:
    from llm_gateway.surfaces.openai.routes import OPENAI

    # It has no settings of its own.
    del settings
    return OPENAI


def _ping(settings: Settings) -> Surface:
    from llm_gateway.surfaces.ping.routes import ping_surface

    return ping_surface(_ping_options(settings))


def _ping_options(settings: Settings) -> PingOptions:
    from llm_gateway.surfaces.ping.options import PingOptions

    return PingOptions(
        token_secret=settings.token_secret,
        is_debug=settings.debug,
        token_lifetime=settings.token_lifetime,
        allow_default_token=settings.allow_default_token,
        rate_limit=settings.rate_limit,
        default_model=settings.default_model,
        default_max_tokens=settings.default_max_tokens,
        default_temperature=settings.default_temperature,
        retry_attempts=settings.retry_attempts,
        llm_timeout=settings.llm_timeout or _PING_TIMEOUT,
    )


def _agents(settings: Settings) -> Surface:
    from llm_gateway.surfaces.agents.routes import agents_surface

    return agents_surface(_agents_options(settings))


def _agents_options(settings: Settings) -> AgentsOptions:
    from llm_gateway.surfaces.agents.options import AgentsOptions

    return AgentsOptions(
        secret=settings.llm_proxy_secret,
        requests_per_minute=settings.agent_rate_limit,
        is_debug=settings.debug,
    )


def _query(settings: Settings) -> Surface:
    from llm_gateway.surfaces.query.options import QueryOptions
    from llm_gateway.surfaces.query.routes import query_surface

    return query_surface(QueryOptions(log_queries=settings.log_queries))


_MAKERS: Final[dict[str, Callable[[Settings], Surface]]] = {
    "openai": _openai,
    "ping": _ping,
    "agents": _agents,
    "query": _query,
}
