"""Tokens are made and verified for who has the secret; `tests/e2e/ping` has what is refused."""

from __future__ import annotations

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.surfaces.ping.options import PingOptions
from tests.fakes.ping_app import PingApp

SECRET = "ü" * 16
HEADER = (b"x-token-secret", SECRET.encode())


def app_with(*, default: bool = False) -> PingApp:
    return PingApp(PingOptions(token_secret=Secret(SECRET), allow_default_token=default))


async def test_a_token_that_was_made_is_verified_and_opens_the_api() -> None:
    app = app_with()
    status, made = await app.call("POST", "/generate-token", {"soeid": "ab1234"}, HEADER)
    assert status == 200
    _, checked = await app.call("POST", "/verify-token", {"token": made["token"]}, HEADER)
    assert (checked["valid"], checked["data"]) == (True, {"soeid": "ab1234"})
    token = (b"x-api-token", made["token"].encode())
    assert (await app.call("POST", "/telemetry", {"event_type": "x"}, token))[0] == 200
    assert app.events[-1].end_user == "ab1234"


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_the_default_token_is_valid_where_it_is_accepted(is_allowed: bool) -> None:
    _, checked = await app_with(default=is_allowed).call("POST", "/verify-token", {"token": "1"}, HEADER)
    assert checked["valid"] is is_allowed
    assert checked["data"] == ({"soeid": "default_user"} if is_allowed else {})


async def test_the_secret_is_asked_for_before_the_body_is_read() -> None:
    app = app_with()
    for headers in ((), ((b"x-token-secret", b"wrong"),)):
        status, answer = await app.call("POST", "/generate-token", b"no JSON", *headers)
        assert (status, answer["error"]["code"]) == (401, "invalid_token_secret")
        assert SECRET not in answer["detail"]
