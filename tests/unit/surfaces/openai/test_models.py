"""The model list of a key, and single models, over a gateway of fakes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.providers import Provider
from llm_gateway.core.errors import Forbidden, GatewayError, ModelNotFound, Unauthenticated, Unavailable
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.surfaces.openai.models import LIST_PATH, model_handler, model_list_handler
from tests.fakes.asgi import Wire, http_scope
from tests.fakes.in_memory import KEY, FakeGateway, FakeReply, ScriptedUpstream, credential, provider
from tests.fakes.worker_registry import FakeWorkerRegistry

MODELS = {"gpt": "up", "meta/llama": "up", "h\u00e9": "up"}


class Surface:
    def __init__(self, *providers: Provider, allowed: tuple[str, ...] | None = None, **options: Any) -> None:
        listed = b'{"object":"list","data":[{"id":"wild-a"},{"id":"other"}]}'
        self.bench = FakeGateway(
            *(providers or (provider("a", model_mapping=MODELS),)),
            upstream=ScriptedUpstream(w=lambda _: FakeReply(listed)),
            credentials=(credential(allowed_models=allowed),),
            options=Options(**options),
        )
        plane = DataPlane(
            gateway=self.bench.gateway,
            bodies=BodyReader(max_bytes=10, max_total_bytes=10, timeout=1),
            worker_registry=FakeWorkerRegistry(),
            max_concurrency=1,
        )
        prober = Prober(self.bench.gateway, ttl=60)
        self._list, self._one = model_list_handler(plane, prober), model_handler(plane, prober)

    async def ask(self, model: str | None = None, key: str = KEY) -> Any:
        path = LIST_PATH if model is None else f"{LIST_PATH}/{model}"
        wire = Wire()
        scope = http_scope("GET", path, (b"authorization", b"Bearer " + key.encode()))
        await (self._list if model is None else self._one)(scope, wire.receive, wire.send, "an-id")
        assert (wire.status, wire.headers[b"x-request-id"]) == (200, b"an-id")
        return msgspec.json.decode(wire.body)

    async def names(self) -> list[str]:
        listed = await self.ask()
        assert listed["object"] == "list"
        return [model["id"] for model in listed["data"]]


async def test_s4_26_the_list_has_the_models_that_the_key_may_use() -> None:
    assert set(await Surface().names()) == set(MODELS)
    assert await Surface(allowed=("g*",)).names() == ["gpt"]
    assert await Surface(allowed=()).names() == []


@pytest.mark.parametrize(
    ("path", "name"), [("gpt", "gpt"), ("meta/llama", "meta/llama"), ("meta%2Fllama", "meta/llama")]
)
async def test_s4_26_a_model_is_described(path: str, name: str) -> None:
    expected = {"id": name, "object": "model", "created": 1_677_610_602, "owned_by": "llm-gateway"}
    assert await Surface().ask(path) == expected
    assert expected in (await Surface().ask())["data"]


async def test_the_prefix_of_a_model_is_stripped() -> None:
    assert (await Surface(provider_suffix="Proxy").ask("Proxy/gpt"))["id"] == "gpt"


@pytest.mark.parametrize(
    ("model", "key", "error"),
    [
        (None, "sk-other", Unauthenticated),
        ("gpt", "sk-other", Unauthenticated),
        ("none", KEY, ModelNotFound),
        ("n" * 5000, KEY, ModelNotFound),
    ],
)
async def test_errors_are_raised(model: str | None, key: str, error: type[GatewayError]) -> None:
    with pytest.raises(error) as caught:
        await Surface().ask(model, key)
    assert len(caught.value.message) < 400


async def test_a_model_that_the_key_may_not_use_is_forbidden() -> None:
    with pytest.raises(Forbidden):
        await Surface(allowed=("meta*",)).ask("gpt")


async def test_while_draining_nothing_is_listed() -> None:
    surface = Surface()
    surface.bench.gateway.lifecycle.draining = True
    with pytest.raises(Unavailable):
        await surface.ask()


async def test_c19_a_wildcard_provider_adds_the_models_that_it_lists() -> None:
    surface = Surface(provider("w", model_mapping={"wild-*": "*"}))
    assert await surface.names() == ["wild-a"]
    assert (await surface.ask("wild-a"))["id"] == "wild-a"
    with pytest.raises(ModelNotFound, match="'wild-z'"):
        await surface.ask("wild-z")
