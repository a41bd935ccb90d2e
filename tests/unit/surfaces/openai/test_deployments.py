"""Azure's older paths name the model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.surfaces.openai.deployments import deployment_handlers
from tests.fakes.asgi import Wire, http_scope
from tests.fakes.in_memory import KEY, FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.worker_registry import FakeWorkerRegistry

# An answer of every endpoint.
REPLY = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"text":"a","finish_reason":"stop"}],'
    b'"data":[{"index":0,"embedding":[0.5]}]}'
)
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


class Bench:
    def __init__(self) -> None:
        self.gateway = FakeGateway(provider("a"), upstream=ScriptedUpstream(a=lambda _: FakeReply(REPLY)))
        self.find = deployment_handlers(
            DataPlane(
                gateway=self.gateway.gateway,
                bodies=BodyReader(max_bytes=10**6, max_total_bytes=10**7, timeout=5),
                worker_registry=FakeWorkerRegistry(),
                max_concurrency=10,
            )
        )

    async def ask(self, path: str, body: bytes) -> Wire:
        wire = Wire(body)
        handler = self.find(path)
        assert handler is not None
        await handler(http_scope("POST", path, (b"api-key", KEY.encode())), wire.receive, wire.send, "an-id")
        return wire

    @property
    def sent(self) -> Any:
        return msgspec.json.decode(self.gateway.upstream.requests[-1].body)


@pytest.mark.parametrize("model", ["gpt-4o", "a/b", "chat/completions", 'q"uote'])
@pytest.mark.parametrize("own", [{}, {"model": "other"}, {"model": None}])
async def test_the_paths_model_is_asked(model: str, own: dict[str, Any]) -> None:
    bench = Bench()
    path = f"/openai/deployments/{model}/chat/completions"
    wire = await bench.ask(path, msgspec.json.encode({**own, **CHAT}) + b" \n")
    assert wire.status == 200
    assert bench.sent["model"] == model
    record = bench.gateway.recorder.record
    assert (record.endpoint, record.model) == ("/v1/chat/completions", model)


async def test_the_other_endpoints() -> None:
    bench = Bench()
    assert (await bench.ask("/openai/deployments/m/completions", b'{"prompt":"x"}')).status == 200
    assert (await bench.ask("/openai/deployments/m/embeddings", b'{"input":"x"}')).status == 200
    assert bench.sent == {"input": "x", "model": "m"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"), (b"{", "invalid_json"), (b"[]", "invalid_json"), (b"[1,}", "invalid_json"),
        (b'{"a":1,}', "invalid_json"), (b'{"a":1}}', "invalid_json"), (b"{}", "invalid_request"),
        (b" { } ", "invalid_request"),
    ],
)  # fmt: skip
async def test_other_bodies_are_refused_as_elsewhere(body: bytes, code: str) -> None:
    wire = await Bench().ask("/openai/deployments/m/chat/completions", body)
    assert (wire.status, wire.error["code"]) == (400, code)


@pytest.mark.parametrize(
    "path",
    [
        "/openai/deployments/",
        "/openai/deployments/m",
        "/openai/deployments/m/images",
        "/openai/deployments//chat/completions",
        "/openai/deployments/m/chat/completions/",
    ],
)
def test_other_paths_are_not_found(path: str) -> None:
    assert Bench().find(path) is None
