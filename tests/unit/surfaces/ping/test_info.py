"""GET /info describes the service, and has no secrets."""

from __future__ import annotations

import re

import msgspec
import pytest

from llm_gateway import __version__
from llm_gateway.core.secret import Secret
from llm_gateway.surfaces.ping.options import PingOptions
from tests.fakes.ping_app import PingApp

SECRET = "0123456789abcdef0123456789abcdef"
OPTIONS = PingOptions(
    token_secret=Secret(SECRET),
    default_model="gemini",
    default_max_tokens=500,
    default_temperature=0.1,
    rate_limit=7,
    llm_timeout=9,
    retry_attempts=2,
)


async def test_info_has_the_facts_s0_36() -> None:
    app = PingApp(OPTIONS)
    status, info = await app.call("GET", "/info")
    assert status == 200
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", info.pop("timestamp"))
    paths = info.pop("endpoints")
    assert info == {
        "service": "llm-gateway",
        "version": __version__,
        "status": "ok",
        "defaults": {"model": "gemini", "max_tokens": 500, "temperature": 0.1},
        "limits": {"requests_per_minute": 7, "llm_timeout": 9, "retry_attempts": 2},
        "authentication": {
            "header": "X-API-Token",
            "tokens_configured": True,
            "default_token_allowed": False,
        },
    }
    own = {path for _, path in (*app.table.metered, *app.table.exact)}
    assert own <= set(paths.values())
    assert SECRET not in msgspec.json.encode(info).decode()


@pytest.mark.parametrize(
    ("secret", "is_configured"), [(None, False), ("dgen_secret_key", False), ("x", True)]
)
async def test_info_says_whether_there_are_tokens(secret: str | None, is_configured: bool) -> None:
    app = PingApp(PingOptions(token_secret=None if secret is None else Secret(secret)))
    _, info = await app.call("GET", "/info")
    assert info["authentication"]["tokens_configured"] is is_configured


async def test_info_says_that_the_gateway_stops() -> None:
    app = PingApp(OPTIONS)
    app.gateway.lifecycle.draining = True
    assert (await app.call("GET", "/info"))[1]["status"] == "draining"
