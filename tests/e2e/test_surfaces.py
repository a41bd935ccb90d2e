"""SURFACES: what is switched off is not there, for clients and for readers of the API's documentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from llm_gateway.app.client_apis import client_apis
from llm_gateway.settings import Settings
from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import GatewayProcess, accepted
from tests.fakes.client_dialects import DIALECTS, SETTINGS
from tests.fakes.upstream import FakeUpstream

ALL = ("openai", "ping", "agents", "query")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, set[str]]]:
    """Return the methods of each path of each client API, from its documentation."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("unused"))
    return {
        surface.name: {
            path.replace("{model}", "m").replace("{request_id}", "r"): {method.upper() for method in methods}
            for path, methods in surface.openapi_paths().items()
        }
        for surface in client_apis(settings)
    }


@pytest.mark.parametrize(
    "served", [("openai", "ping"), ("query",), ("agents", "openai"), ("ping",)], ids="-".join
)
def test_what_is_off_is_not_there(
    launch: Launch, fake: FakeUpstream, paths: dict[str, dict[str, set[str]]], served: tuple[str, ...]
) -> None:
    gateway = launch(**{**SETTINGS, "SURFACES": ",".join(served)})
    gateway.create_provider("p", fake.lane("surfaces").base_url, model_mapping={"m": "m"})
    key = gateway.create_credential("x")
    for name in served:
        dialect = DIALECTS[name]
        body = dialect.body("m", "hello", stream=False)
        answer = gateway.http.post(dialect.path, headers=dialect.headers(key), json=body)
        assert answer.status_code == 200, answer.text
        assert dialect.read_whole(answer.content).text
    documented = set(accepted(gateway.http.get("/openapi.json"))["paths"])
    for name in ALL:
        for path, methods in paths[name].items():
            if name in served:
                assert any(
                    path == one.replace("{model}", "m").replace("{request_id}", "r") for one in documented
                )
                continue
            assert path not in documented
            for method in methods:
                answer = gateway.http.request(method, path, headers=DIALECTS[name].headers(key), json={})
                assert answer.status_code == 404, (method, path, answer.text)
                if not below_another(path, served):
                    # Below another folder it is as unknown, and means the same if it means anything.
                    other = gateway.http.request(method, f"/nowhere{path}", json={})
                    assert without_ids(answer, path) == without_ids(other, f"/nowhere{path}"), (method, path)


def below_another(path: str, served: tuple[str, ...]) -> bool:
    """Tell whether the path is below the root of a client API that is served, which has its own word for 404."""
    return path.startswith("/v1/") and ("openai" in served or "query" in served)


def without_ids(answer: httpx.Response, path: str) -> dict[str, object]:
    text = answer.text.replace(answer.headers["x-request-id"], "ID").replace(path, "PATH")
    return {"status": answer.status_code, "type": answer.headers["content-type"], "text": text}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("openai,pong", "'pong' is no client API; name some of openai, ping, agents, query"),
        (",", "it names no client API; name some of openai, ping, agents, query"),
    ],
)
def test_an_unknown_name_is_refused(tmp_path: Path, value: str, said: str) -> None:
    gateway = GatewayProcess(tmp_path, SURFACES=value)
    try:
        gateway.launch()
        assert gateway.wait(30) == 2
    finally:
        gateway.close()
    log = gateway.stderr.read_text()
    assert said in log
    assert f"SURFACES={value}" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("value", ["openai,openai", " OpenAI , ", "openai"])
def test_names_are_read_leniently(launch: Callable[..., GatewayProcess], value: str) -> None:
    gateway = launch(SURFACES=value)
    assert gateway.http.get("/v1/models").status_code == 401
    assert gateway.http.get("/api/status").status_code == 404
