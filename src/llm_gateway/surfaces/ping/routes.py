"""The paths of dgen-ping's API."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from llm_gateway.flow.gateway import Options
from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.surfaces.base import Surface, SurfaceServices
from llm_gateway.surfaces.ping.callers import CallerReader, limits_per_caller
from llm_gateway.surfaces.ping.dialect import PingDialect
from llm_gateway.surfaces.ping.info import info_handler
from llm_gateway.surfaces.ping.openapi import ping_paths
from llm_gateway.surfaces.ping.options import PingOptions
from llm_gateway.surfaces.ping.paths import (
    CHAT_PATH,
    COMPLETION_PATH,
    GENERATE_PATH,
    INFO_PATH,
    TELEMETRY_PATH,
    VERIFY_PATH,
)
from llm_gateway.surfaces.ping.requests import read_chat, read_completion
from llm_gateway.surfaces.ping.telemetry import telemetry_handler
from llm_gateway.surfaces.ping.token_handlers import generate_handler, verify_handler
from llm_gateway.surfaces.ping.tokens import TokenSigner


def ping_surface(options: PingOptions) -> Surface:
    """Return the surface."""
    return Surface(name="ping", routes=partial(_routes, options), openapi_paths=ping_paths)


def _routes(options: PingOptions, services: SurfaceServices) -> RouteTable:
    gateway = services.plane.gateway
    secret = options.signing_secret
    signer = None if secret is None else TokenSigner(secret, options.token_lifetime, gateway.clock)
    callers = CallerReader(options, signer)
    completions = PingDialect(callers, partial(read_completion, options))
    chats = PingDialect(callers, partial(read_chat, options))
    plane = services.tuned_plane(
        _tuned(gateway.options, options), limits_per_caller("ping", options.rate_limit)
    )
    # Clients report an event beside each of their requests: both have the limit for themselves.
    event_limit = services.limit_callers(limits_per_caller("ping/telemetry", options.rate_limit))
    return RouteTable(
        metered={
            ("POST", COMPLETION_PATH): plane.model_route(COMPLETION_PATH, completions),
            ("POST", CHAT_PATH): plane.model_route(CHAT_PATH, chats),
        },
        exact={
            ("POST", GENERATE_PATH): generate_handler(plane, completions, options, signer),
            ("POST", VERIFY_PATH): verify_handler(plane, completions, options, signer),
            ("POST", TELEMETRY_PATH): telemetry_handler(services, completions, event_limit),
            ("GET", INFO_PATH): info_handler(gateway, options),
        },
        errors=completions,
        root="/api/llm/",
    )


def _tuned(options: Options, ping: PingOptions) -> Options:
    """Return the options of requests with this API's timeout, and its number of attempts in all."""
    return replace(
        options,
        llm_timeout=ping.llm_timeout,
        max_attempts=ping.retry_attempts,
        max_retries=ping.retry_attempts - 1,
    )
