"""Responses of one credential are not another's: ids in requests, replies, streams, errors and cached replies."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.flow.reply_cache.store import ReplyStore
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.data_plane import DataPlane
from llm_gateway.infra.reply_cache.in_process import InProcessReplyCache
from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.providers.registry import KINDS
from llm_gateway.surfaces.openai.bound_responses import _BoundDialect
from llm_gateway.surfaces.openai.parsing import parse_response
from llm_gateway.surfaces.openai.response_ids import ResponseIds
from llm_gateway.surfaces.openai.routes import RESPONSE_PATH, openai_routes
from tests.fakes.asgi import Wire, http_scope
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, credential, provider
from tests.fakes.reply_facts import StatedFacts
from tests.fakes.responses_wire import response, response_events
from tests.fakes.script import Script
from tests.fakes.usage_reader import surface_services
from tests.fakes.worker_registry import FakeWorkerRegistry

HASHER = Blake2KeyHasher(b"pepper")
KEYS = {1: "sk-one", 2: "sk-two"}
OWN_ID = "resp_fake1"


def reply_to(request: UpstreamRequest) -> FakeReply:
    """Answer as the provider would: whole or streamed, with its own ids."""
    asked = msgspec.json.decode(request.body)
    if not asked.get("stream"):
        return FakeReply(msgspec.json.encode(response(1, Script(), asked, "fake")))
    events = response_events(1, Script(pieces=("one", " two")), asked, "fake")
    return streamed(*events)


def streamed(*events: dict[str, Any]) -> FakeReply:
    pieces = [f"event: {one['type']}\ndata: ".encode() + msgspec.json.encode(one) + b"\n\n" for one in events]
    return FakeReply(*pieces, content_type="text/event-stream")


class Bench:
    """`/v1/responses` of a gateway with two credentials."""

    def __init__(
        self,
        *providers: Provider,
        answer: Callable[[UpstreamRequest], FakeReply] = reply_to,
        models: tuple[Model, ...] = (),
        options: Options | None = None,
        **changes: Any,
    ) -> None:
        providers = providers or (provider("a"),)
        self.upstream = ScriptedUpstream(**{one.provider_key: answer for one in providers})
        owners = [
            credential(key, number, key_hash=HASHER.hash(key), name=key) for number, key in KEYS.items()
        ]
        bench = FakeGateway(
            *providers, upstream=self.upstream, credentials=tuple(owners), models=models, options=options
        )
        self.gateway: Gateway = dataclasses.replace(bench.gateway, hasher=HASHER, **changes)
        plane = DataPlane(
            gateway=self.gateway,
            bodies=BodyReader(max_bytes=10**6, max_total_bytes=10**7, timeout=5),
            worker_registry=FakeWorkerRegistry(),
            max_concurrency=10,
        )
        prober = Prober(self.gateway, ttl=1, on_answer=lambda *_: None)
        routes = openai_routes(surface_services(plane, prober))
        self.handler = routes.metered["POST", RESPONSE_PATH]

    async def ask(self, owner: int = 1, headers: tuple[tuple[bytes, bytes], ...] = (), **fields: Any) -> Wire:
        wire = Wire(msgspec.json.encode({"model": "m", "input": "hi", **fields}))
        key = (b"authorization", b"Bearer " + KEYS[owner].encode())
        await self.handler(http_scope("POST", RESPONSE_PATH, key, *headers), wire.receive, wire.send, "an-id")
        return wire

    async def first(self, owner: int = 1, **fields: Any) -> str:
        """Return the id of a response, as its client sees it."""
        found: str = msgspec.json.decode((await self.ask(owner, **fields)).body)["id"]
        return found

    @property
    def sent(self) -> dict[str, Any]:
        body: dict[str, Any] = msgspec.json.decode(self.upstream.requests[-1].body)
        return body


def events_of(wire: Wire) -> list[dict[str, Any]]:
    lines = wire.body.decode().splitlines()
    return [msgspec.json.decode(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


async def test_a_response_goes_on_for_the_credential_that_made_it() -> None:
    bench = Bench()
    made = await bench.first()
    assert made.startswith(f"{OWN_ID}-")
    wire = await bench.ask(previous_response_id=made)
    assert wire.status == 200
    assert bench.sent["previous_response_id"] == OWN_ID
    # The client finds the id that it sent.
    assert msgspec.json.decode(wire.body)["previous_response_id"] == made


@pytest.mark.parametrize(
    "forge", [lambda made: made, lambda made: OWN_ID, lambda made: made[:-1] + "x", lambda _: ""]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_id_of_another_credential_or_of_nobody_is_not_found(
    forge: Callable[[str], str], stream: bool
) -> None:
    bench = Bench()
    made = await bench.first()
    calls = len(bench.upstream.requests)
    wire = await bench.ask(2, previous_response_id=forge(made), stream=stream)
    assert wire.status == 400
    error = wire.error
    assert (error["type"], error["code"]) == ("invalid_request_error", "previous_response_not_found")
    assert error["param"] == "previous_response_id"
    assert len(bench.upstream.requests) == calls, "nothing was sent to the provider"


async def test_every_event_of_a_stream_names_the_bound_id() -> None:
    bench = Bench()
    made = await bench.first()
    wire = await bench.ask(stream=True, previous_response_id=made)
    events = events_of(wire)
    own = ResponseIds(HASHER).bind(OWN_ID, 1, 1)
    named = [event["response"] for event in events if "response" in event]
    assert [(one["id"], one["previous_response_id"]) for one in named] == [(own, made)] * 3
    assert f'"{OWN_ID}"'.encode() not in wire.body
    assert events[-1]["type"] == "response.completed"
    assert (await bench.ask(previous_response_id=named[0]["id"])).status == 200


async def test_only_ids_change_in_a_reply() -> None:
    bench = Bench()
    cases: tuple[dict[str, Any], ...] = ({}, {"stream": True})
    for fields in cases:
        raw = reply_to(
            UpstreamRequest(url="", headers={}, body=msgspec.json.encode({"model": "m", **fields}))
        )
        body = b"".join(piece for piece in raw.pieces if isinstance(piece, bytes))
        wire = await bench.ask(**fields)
        own = ResponseIds(HASHER).bind(OWN_ID, 1, 1)
        assert wire.body.replace(own.encode(), OWN_ID.encode()).count(b'"id"') == body.count(b'"id"')
        assert wire.body.count(own.encode()) == body.count(f'"{OWN_ID}"'.encode())


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"type":"response.created" , "response" : { "id"\t: "resp_x","status":"in_progress"}}\n\n',
        b'event: response.created\r\ndata: {"type":"response.created","response":{"a":1,"id":"resp_x"}}\r\n\r\n',
        b'data: {"type":"response.output_text.delta","response_id":"resp_x","delta":"a"}\n\n',
        b': ping\n\ndata: {"response":{"id":"resp_x"},"response_id":"resp_x"}\n\n',
    ],
)
async def test_ids_are_found_however_an_event_is_written(event: bytes) -> None:
    rest = (
        b'data: {"type":"response.completed","response":{"id":"resp_x","status":"completed","output":[]}}\n\n'
    )
    bench = Bench(answer=lambda _: FakeReply(event, rest, content_type="text/event-stream"))
    wire = await bench.ask(stream=True)
    bound = ResponseIds(HASHER).bind("resp_x", 1, 1).encode()
    assert wire.body == (event + rest).removeprefix(b": ping\n\n").replace(b'"resp_x"', b'"' + bound + b'"')


@pytest.mark.parametrize(
    "value", ["null", "7", '""', "{}", '"' + "x" * 600 + '"', '"output_text"', '"response"']
)
@pytest.mark.parametrize("stream", [False, True])
async def test_odd_ids_harm_no_reply(value: str, stream: bool) -> None:
    output = '[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]'
    whole = f'{{"id":{value},"object":"response","status":"completed","output":{output}}}'
    event = f'data: {{"type":"response.completed","response":{whole}}}\n\n'
    answer = (
        FakeReply(event.encode(), content_type="text/event-stream") if stream else FakeReply(whole.encode())
    )
    wire = await Bench(answer=lambda _: answer).ask(stream=stream)
    assert wire.status == 200
    told = wire.body if not stream else wire.body.removeprefix(b"data: ")
    assert b'"type":"output_text","text":"hi"' in told
    assert b'"object":"response"' in told
    msgspec.json.decode(told)


async def test_text_that_reads_like_an_id_is_left_alone() -> None:
    text = msgspec.json.encode('{"id":"resp_x","response":{"id":"resp_x"}} "resp_x"').decode()
    created = b'data: {"type":"response.created","response":{"id":"resp_x","status":"in_progress"}}\n\n'
    delta = f'data: {{"type":"response.output_text.delta","delta":{text}}}\n\n'.encode()
    done = (
        b'data: {"type":"response.completed","response":{"id":"resp_x","status":"completed","output":[]}}\n\n'
    )
    bench = Bench(answer=lambda _: FakeReply(created, delta, done, content_type="text/event-stream"))
    assert delta in (await bench.ask(stream=True)).body


async def test_a_failed_response_names_the_bound_id() -> None:
    created = {"type": "response.created", "response": {"id": OWN_ID, "status": "in_progress"}}
    delta = {"type": "response.output_text.delta", "delta": "some"}
    failed = {
        "type": "response.failed",
        "response": {"id": OWN_ID, "status": "failed", "error": {"code": "server_error", "message": "boom"}},
    }
    wire = await Bench(answer=lambda _: streamed(created, delta, failed)).ask(stream=True)
    assert f'"{OWN_ID}"'.encode() not in wire.body
    assert b"response.failed" in wire.body
    assert wire.body.count(ResponseIds(HASHER).bind(OWN_ID, 1, 1).encode()) >= 2


async def test_a_response_goes_on_at_the_provider_that_has_it() -> None:
    """Also after a failover, at a model with several providers, and when other rules prefer another one."""
    broken = [True]

    def answer(request: UpstreamRequest) -> FakeReply:
        return FakeReply(b"{}", status=500) if broken[0] and "//a." in request.url else reply_to(request)

    bench = Bench(provider("a", 1, weight=100), provider("b", 2), answer=answer)
    made = await bench.first()
    assert bench.upstream.hosts[-1] == "b"
    broken[0] = False
    for _ in range(5):
        wire = await bench.ask(previous_response_id=made)
        assert (wire.status, bench.upstream.hosts[-1]) == (200, "b")
        made = msgspec.json.decode(wire.body)["id"]


async def test_a_bound_request_goes_nowhere_else_when_its_provider_fails() -> None:
    def answer(request: UpstreamRequest) -> FakeReply:
        previous = b'"previous_response_id"' in request.body
        return FakeReply(b"{}", status=500) if previous else reply_to(request)

    bench = Bench(provider("a"), provider("b", 2), answer=answer, options=Options(max_retries=0))
    made = await bench.first()
    first = bench.upstream.hosts[-1]
    assert (await bench.ask(previous_response_id=made)).status == 502
    assert bench.upstream.hosts[1:] == [first]


async def test_a_response_of_a_fallback_model_goes_on_there() -> None:
    def answer(request: UpstreamRequest) -> FakeReply:
        return FakeReply(b"{}", status=500) if "//a." in request.url else reply_to(request)

    named = (
        provider("a", 1, model_mapping={"m": "m"}),
        provider("b", 2, model_mapping={"other": "other"}),
    )
    rules = (Model(id=1, name="m", fallbacks=("other",)),)
    bench = Bench(*named, answer=answer, models=rules, options=Options(max_retries=0))
    made = await bench.first()
    wire = await bench.ask(previous_response_id=made)
    assert (wire.status, bench.upstream.hosts[-1]) == (200, "b")
    assert wire.headers[b"x-llm-gateway-model"] == b"other"


async def test_a_provider_that_is_gone_is_named_as_the_reason() -> None:
    made = ResponseIds(HASHER).bind(OWN_ID, 1, 99)
    wire = await Bench().ask(previous_response_id=made)
    assert (wire.status, wire.error["code"]) == (400, "previous_response_not_found")
    assert "does not serve" in wire.error["message"]


@pytest.mark.parametrize("value", ["conv_1", {"id": "conv_1"}])
async def test_a_conversation_is_nobodys(value: object) -> None:
    bench = Bench()
    wire = await bench.ask(conversation=value)
    assert (wire.status, wire.error["code"], wire.error["param"]) == (
        400, "conversation_not_supported", "conversation",
    )  # fmt: skip
    assert bench.upstream.requests == []
    assert (await bench.ask(conversation=None)).status == 200


@pytest.mark.parametrize("value", [7, ["x"], {"id": "x"}, True])
async def test_an_id_is_a_string(value: object) -> None:
    wire = await Bench().ask(previous_response_id=value)
    assert (wire.status, wire.error["code"], wire.error["param"]) == (
        400,
        "invalid_type",
        "previous_response_id",
    )


async def test_an_operator_can_share_ids() -> None:
    bench = Bench(options=Options(binds_response_ids=False))
    assert await bench.first() == OWN_ID
    wire = await bench.ask(2, previous_response_id=OWN_ID, conversation="conv_1")
    assert wire.status == 200
    assert (bench.sent["previous_response_id"], bench.sent["conversation"]) == (OWN_ID, "conv_1")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cached_reply_has_an_id_of_its_own_for_each_credential(stream: bool) -> None:
    clock = FakeGateway(provider("a"), upstream=ScriptedUpstream(a=FakeReply())).clock
    store = ReplyStore(
        InProcessReplyCache(max_bytes=10**6, clock=clock), namespace=b"n", largest=10**5, count=lambda _: None
    )
    shared = (Model(id=1, name="m", cache=CacheRules(is_shared=True)),)
    bench = Bench(models=shared, replies=store)
    fields: dict[str, Any] = {"store": False, "temperature": 0, "stream": stream}
    ids = []
    for owner in (1, 2, 1):
        wire = await bench.ask(owner, **fields)
        found = events_of(wire)[0]["response"] if stream else msgspec.json.decode(wire.body)
        ids.append(found["id"])
    assert len(bench.upstream.requests) == 1
    assert ids[0] == ids[2] != ids[1]
    assert ids[1] == ResponseIds(HASHER).bind(OWN_ID, 2, 0)


@pytest.mark.parametrize("broken", [b'"\\ud800"', b'"\xff"', b"NaN"])
def test_ids_are_bound_in_what_a_strict_parser_refuses(broken: bytes) -> None:
    """Such a reply may still be relayed."""
    dialect = _BoundDialect(ResponseIds(HASHER), 1, None)
    deployment = Snapshot(Catalog(version=1, providers=(provider("a"),)), KINDS).providers[0].deployment("m")
    body = b'{"id":"resp_x","output":[{"id":"msg_1","text":' + broken + b"}]}"
    bound = b'"' + ResponseIds(HASHER).bind("resp_x", 1, 1).encode() + b'"'
    request = parse_response(b'{"model":"m","input":"x"}')
    assert dialect.encode_reply(request, body, StatedFacts(deployment=deployment)) == body.replace(
        b'"resp_x"', bound
    )
    event = b'data: {"type":"response.completed","response":' + body + b"}\n\n"
    assert dialect.open_stream(request, deployment).feed(event) == event.replace(b'"resp_x"', bound)


@pytest.mark.parametrize("broken", [b"NaN", b"1"])
def test_ids_without_end_take_linear_time(broken: bytes) -> None:
    """A hostile provider may send a million of them; what is not a response's own id need not be bound."""
    dialect = _BoundDialect(ResponseIds(HASHER), 1, None)
    deployment = Snapshot(Catalog(version=1, providers=(provider("a"),)), KINDS).providers[0].deployment("m")
    ids = b",".join(b'{"id":"resp_%d"}' % number for number in range(50_000))
    body = b'{"id":"resp_x","response":"","output":[' + ids + b"," + broken + b"]}"
    event = b"data: " + body + b"\n\n"
    request = parse_response(b'{"model":"m","input":"x"}')
    bound = b'{"id":"' + ResponseIds(HASHER).bind("resp_x", 1, 1).encode() + b'"'
    began = time.process_time()
    assert dialect.encode_reply(request, body, StatedFacts(deployment=deployment)).startswith(bound)
    assert dialect.open_stream(request, deployment).feed(event).startswith(b"data: " + bound)
    assert time.process_time() - began < 2
