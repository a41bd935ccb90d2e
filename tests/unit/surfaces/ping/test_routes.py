"""The paths of the surface, and the options of its requests."""

from __future__ import annotations

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.surfaces.ping.options import PingOptions
from tests.fakes.ping_app import PingApp

TOKEN = (b"x-api-token", b"1")


@pytest.fixture
def app() -> PingApp:
    return PingApp(PingOptions(token_secret=Secret("0" * 32), allow_default_token=True))


def test_the_surface_has_these_paths_s0_7_s0_33_to_s0_38(app: PingApp) -> None:
    assert app.surface.name == "ping"
    assert {*app.table.metered} == {("POST", "/api/llm/completion"), ("POST", "/api/llm/chat")}
    assert {*app.table.exact} == {
        ("POST", "/generate-token"),
        ("POST", "/verify-token"),
        ("POST", "/telemetry"),
        ("GET", "/info"),
    }


@pytest.mark.parametrize("path", ["/api/llm/completion", "/api/llm/chat"])
async def test_a_prompt_is_answered(app: PingApp, path: str) -> None:
    status, answer = await app.call("POST", path, {"prompt": "x", "model": "m"}, TOKEN)
    assert (status, answer["completion"], answer["model"]) == (200, "hi", "m")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/llm/chat", 405), ("POST", "/api/llm/chats", 404), ("POST", "/api/llm/", 404)],
)
async def test_what_is_below_its_root_has_its_errors(
    app: PingApp, method: str, path: str, status: int
) -> None:
    got, answer = await app.call(method, path)
    assert (got, [*answer]) == (status, ["detail", "error"])
