"""GET /info: the service's name and version, its status, paths and defaults. It has no secrets."""

from __future__ import annotations

from typing import Final

import msgspec

from llm_gateway import __version__
from llm_gateway.core.times import iso_milliseconds
from llm_gateway.flow.gateway import Gateway
from llm_gateway.http.model_routes.data_plane import Handler
from llm_gateway.http.model_routes.responding import send_json
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.ping.options import PingOptions
from llm_gateway.surfaces.ping.paths import (
    CHAT_PATH,
    COMPLETION_PATH,
    GENERATE_PATH,
    INFO_PATH,
    TELEMETRY_PATH,
    VERIFY_PATH,
)

_ENDPOINTS: Final = {
    "completion": COMPLETION_PATH,
    "chat": CHAT_PATH,
    "generate_token": GENERATE_PATH,
    "verify_token": VERIFY_PATH,
    "telemetry": TELEMETRY_PATH,
    "health": "/health",
    "info": INFO_PATH,
    "metrics": "/metrics",
    "docs": "/docs",
}


def info_handler(gateway: Gateway, options: PingOptions) -> Handler:
    """Return the handler."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del scope, receive
        fields = {
            "service": "llm-gateway",
            "version": __version__,
            "status": _status(gateway),
            "timestamp": iso_milliseconds(gateway.clock.unix_us()),
            "endpoints": _ENDPOINTS,
            "defaults": {
                "model": options.default_model,
                "max_tokens": options.default_max_tokens,
                "temperature": options.default_temperature,
            },
            "limits": {
                # Requests of each caller.
                "requests_per_minute": options.rate_limit,
                # Seconds.
                "llm_timeout": options.llm_timeout,
                "retry_attempts": options.retry_attempts,
            },
            "authentication": {
                "header": "X-API-Token",
                "tokens_configured": options.signing_secret is not None,
                "default_token_allowed": options.allow_default_token,
            },
        }
        await send_json(send, msgspec.json.encode(fields), request_id)

    return handler


def _status(gateway: Gateway) -> str:
    if gateway.lifecycle.draining:
        return "draining"
    return "not_ready" if gateway.snapshots.current is None else "ok"
