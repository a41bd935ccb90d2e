"""Embeddings and responses through the pipeline, with every port in memory, and the parsing of their requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.errors import GatewayError, UpstreamFailed
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply, WholeReply
from llm_gateway.surfaces.openai import dialect
from llm_gateway.surfaces.openai.parsing import parse_embedding, parse_response
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.responses_wire import embedding_list, response, response_events
from tests.fakes.script import Script

Parse = Callable[[bytes], ModelRequest]
CUT = TransportError("cut", "cut")
RESPONSE = {"model": "m", "input": "a b"}


def events(plan: Script | None = None) -> list[bytes]:
    told = response_events(1, plan or Script(pieces=("one", " two")), RESPONSE, "fake")
    return [f"event: {one['type']}\ndata: ".encode() + msgspec.json.encode(one) + b"\n\n" for one in told]


def failed(message: str = "boom") -> bytes:
    value = {"status": "failed", "error": {"code": "server_error", "message": message}}
    event = {"type": "response.failed", "sequence_number": 9, "response": value}
    return b"event: response.failed\ndata: " + msgspec.json.encode(event) + b"\n\n"


def stream(*pieces: bytes | TransportError | float, **more: Any) -> FakeReply:
    return FakeReply(*pieces, content_type="text/event-stream", **more)


def read(parse: Parse, fields: dict[str, Any]) -> Any:
    async def read_body() -> bytes:
        await asyncio.sleep(0)
        return msgspec.json.encode(fields)

    return read_body


async def ask(bench: FakeGateway, parse: Parse, **fields: Any) -> bytes:
    call = bench.call(dialect=dialect.RESPONSE if parse is parse_response else dialect.EMBEDDING)
    reply = await handle(bench.gateway, call, read(parse, {"model": "m", "input": "a b", **fields}))
    if isinstance(reply, WholeReply):
        return reply.body
    assert isinstance(reply, StreamReply)
    out = b""
    try:
        while True:
            data, last = await reply.next()
            out += data
            if last:
                return out
    finally:
        reply.close()


def one(*answers: FakeReply | TransportError) -> FakeGateway:
    return FakeGateway(provider("a"), upstream=ScriptedUpstream(a=list(answers)))


def two(bad: Callable[[], FakeReply], good: Callable[[], FakeReply]) -> FakeGateway:
    upstream = ScriptedUpstream(a=lambda _: bad(), b=lambda _: good())
    return FakeGateway(provider("a"), provider("b", 2), upstream=upstream)


async def test_embeddings_pass_and_are_metered() -> None:
    body = msgspec.json.encode(embedding_list(1, Script(), {"input": "a"}, "fake"))
    bench = one(FakeReply(body))
    assert await ask(bench, parse_embedding, dimensions=3, encoding_format="base64", stream=None) == body
    sent = bench.upstream.requests[0]
    assert sent.url == "https://a.test/v1/embeddings"
    expected = {"input": "a b", "dimensions": 3, "encoding_format": "base64", "stream": None, "model": "m"}
    assert msgspec.json.decode(sent.body) == expected
    record = bench.recorder.record
    assert (record.prompt_tokens, record.completion_tokens, record.total_tokens) == (9, 0, 9)
    assert (record.outcome, record.usage_source, record.stream) == ("ok", "provider", False)


@pytest.mark.parametrize(
    ("given", "tokens"),
    [("one two", 2), (["one", "two three"], 3), ([5, 6, 7], 3), ([[5, 6], [7]], 3), ([], 0), ([None], 0)],
)
async def test_embeddings_are_counted_when_the_provider_does_not(given: Any, tokens: int) -> None:
    bench = one(FakeReply(b'{"object":"list","data":[{"embedding":[0.5]}]}'))
    await ask(bench, parse_embedding, input=given)
    record = bench.recorder.record
    assert (record.prompt_tokens, record.completion_tokens) == (tokens, 0)
    assert record.usage_source == "counted"


async def test_a_response_passes_and_is_metered() -> None:
    body = msgspec.json.encode(response(1, Script(), RESPONSE, "fake"))
    bench = one(FakeReply(body))
    assert await ask(bench, parse_response, store=False, unknown={"x": 1}) == body
    sent = bench.upstream.requests[0]
    assert sent.url == "https://a.test/v1/responses"
    expected = {"model": "m", "input": "a b", "store": False, "unknown": {"x": 1}}
    assert msgspec.json.decode(sent.body) == expected
    record = bench.recorder.record
    assert (record.prompt_tokens, record.completion_tokens, record.total_tokens) == (9, 4, 13)
    assert (record.cached_tokens, record.reasoning_tokens, record.usage_source) == (2, 1, "provider")


async def test_a_streamed_response_is_relayed_and_asks_for_no_usage() -> None:
    reply = stream(*events())
    bench = one(reply)
    assert await ask(bench, parse_response, stream=True) == b"".join(events())
    assert msgspec.json.decode(bench.upstream.requests[0].body) == {**RESPONSE, "stream": True}
    record = bench.recorder.record
    assert (record.outcome, record.total_tokens, record.usage_source) == ("ok", 13, "provider")
    assert record.ttft_ms is not None
    assert reply.finished


async def test_stream_options_of_responses_pass_untouched() -> None:
    bench = one(stream(*events()))
    await ask(bench, parse_response, stream=True, stream_options={"include_obfuscation": False})
    sent = msgspec.json.decode(bench.upstream.requests[0].body)
    assert sent["stream_options"] == {"include_obfuscation": False}


ITEMS = [
    {"role": "user", "content": [{"type": "input_text", "text": "one two"}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "three"},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "four"}]},
]


@pytest.mark.parametrize(
    ("fields", "prompt"),
    # role and texts, 3 for each item, 3 for the reply
    [
        ({}, 3 + 3 + 3),
        ({"instructions": "be kind"}, 3 + 3 + 3 + 3 + 3),
        ({"input": ITEMS}, 3 + 2 + 1 + 1 + 4 * 3 + 3),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_responses_are_counted_when_the_provider_does_not(
    fields: dict[str, Any], prompt: int, streamed: bool
) -> None:
    plan = Script(pieces=("one", " two"), reasoning=("I think",), usage="none")
    whole = FakeReply(msgspec.json.encode(response(1, plan, RESPONSE, "fake")))
    bench = one(stream(*events(plan)) if streamed else whole)
    await ask(bench, parse_response, stream=streamed, **fields)
    record = bench.recorder.record
    assert (record.prompt_tokens, record.completion_tokens) == (prompt, 4)
    assert record.usage_source == "counted"


async def test_a_count_of_what_the_provider_keeps_is_an_estimate() -> None:
    whole = msgspec.json.encode(response(1, Script(usage="none"), RESPONSE, "fake"))
    bench = one(FakeReply(whole))
    await ask(bench, parse_response, previous_response_id="resp_1")
    assert bench.recorder.record.usage_source == "estimated"


@pytest.mark.parametrize("end", [CUT, None, TransportError("timeout", "silent")])
async def test_a_cut_response_ends_with_its_own_error_events(end: TransportError | None) -> None:
    pieces = events()[:6]
    bench = one(stream(*pieces, *([end] if end else [])))
    out = await ask(bench, parse_response, stream=True)
    last = out.removeprefix(b"".join(pieces))
    assert last.startswith(b"event: response.failed\ndata: {")
    assert b"\n\nevent: error\ndata: {" in last
    assert b"[DONE]" not in out
    data = msgspec.json.decode(last.split(b"data: ")[2])
    assert (data["type"], data["sequence_number"]) == ("error", 7)
    assert data["error"]["code"] in {"upstream_cut", "upstream_timeout"}
    record = bench.recorder.record
    assert (record.outcome, record.status_code, record.completion_tokens) == ("error", 200, 2)
    assert record.usage_source == "counted"


async def test_a_response_that_fails_after_its_first_content_says_so_in_safe_words() -> None:
    bench = one(stream(*events()[:5], failed("sk-secret-of-a broke at https://a.test/v1")))
    out = await ask(bench, parse_response, stream=True)
    last = out.removeprefix(b"".join(events()[:5]))
    assert last.startswith(b"event: response.failed\n")
    assert b"[secret] broke at [provider]" in last
    assert b"sk-secret" not in last
    assert bench.recorder.record.outcome == "error"
    assert bench.recorder.record.error_type == "server_error"


@pytest.mark.parametrize(
    "bad",
    [
        lambda: stream(CUT),
        lambda: stream(events()[0], CUT),
        lambda: stream(*events()[:4]),
        lambda: stream(events()[0], failed()),
        lambda: stream(b'event: error\ndata: {"type":"error","message":"overloaded"}\n\n'),
        lambda: stream(b"data: not json\n\n"),
        lambda: FakeReply(b"not json"),
        lambda: FakeReply(b'{"status":"failed","error":{"code":"x","message":"y"},"output":[]}'),
    ],
)
async def test_before_the_first_content_another_deployment_answers(bad: Any) -> None:
    bench = two(bad, lambda: stream(*events()))
    for _ in range(2):
        assert await ask(bench, parse_response, stream=True) == b"".join(events())
    assert "a" in bench.upstream.hosts
    assert [record.outcome for record in bench.recorder.records] == ["ok", "ok"]


async def test_a_whole_response_that_failed_is_a_failed_attempt() -> None:
    bad = (
        b'{"object":"response","status":"failed","error":{"code":"server_error","message":"sk-secret-of-a"}}'
    )
    good = msgspec.json.encode(response(1, Script(), RESPONSE, "fake"))
    bench = two(lambda: FakeReply(bad), lambda: FakeReply(good))
    for _ in range(2):
        assert await ask(bench, parse_response) == good
    with pytest.raises(UpstreamFailed, match=r"\[secret\]"):
        await ask(two(lambda: FakeReply(bad), lambda: FakeReply(bad)), parse_response)


async def test_json_that_answers_a_streamed_response_becomes_its_events() -> None:
    body = msgspec.json.encode(response(1, Script(text="one two"), RESPONSE, "fake"))
    bench = one(FakeReply(body))
    out = await ask(bench, parse_response, stream=True)
    assert out.startswith(b"event: response.created\n")
    assert b'"delta":"one two"' in out
    assert out.count(b"event: response.completed\n") == 1
    assert b"[DONE]" not in out
    assert bench.recorder.record.total_tokens == 13


# --- parsing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parse", "body", "param", "code"),
    [
        (parse_embedding, {"model": "m"}, "input", "invalid_request"),
        (parse_embedding, {"model": "m", "input": None}, "input", "invalid_request"),
        (parse_embedding, {"model": "m", "input": 5}, "input", "invalid_type"),
        (parse_embedding, {"input": "a"}, "model", "invalid_request"),
        (parse_response, {"model": "m"}, "input", "invalid_request"),
        (parse_response, {"model": "m", "input": {}}, "input", "invalid_type"),
        (parse_response, {"input": "a"}, "model", "invalid_request"),
        (parse_response, {"prompt": {"id": "p"}}, "model", "invalid_request"),
        (parse_response, {"model": "m", "input": "a", "stream": 1}, "stream", "invalid_type"),
        (parse_response, {"model": "m", "input": "a", "background": True}, "background", "background_not_supported"),
    ],
)  # fmt: skip
def test_requests_that_cannot_work_are_refused_by_name(
    parse: Parse, body: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        parse(msgspec.json.encode(body))
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


@pytest.mark.parametrize("state", ["previous_response_id", "conversation", "prompt"])
def test_input_may_be_left_out_beside_what_is_kept_at_the_provider(state: str) -> None:
    parsed = parse_response(msgspec.json.encode({"model": "m", state: "x", "background": False}))
    assert parsed.stateful_field == state
    assert (
        parse_response(msgspec.json.encode({"model": "m", "input": [], state: None})).stateful_field is None
    )


async def test_a_failed_response_tells_no_access_token_in_any_of_its_fields() -> None:
    value = {
        "status": "failed",
        "error": {"code": "server_error", "message": "token-0-of-1 broke"},
        "incomplete_details": {"reason": "token-0-of-1"},
        "output": [{"type": "message", "content": [{"text": "sk-secret-of-a"}]}],
    }
    event = {"type": "response.failed", "sequence_number": 9, "response": value, "detail": "token-0-of-1"}
    block = b"event: response.failed\ndata: " + msgspec.json.encode(event) + b"\n\n"
    grant = ClientCredentials(token_url="https://id.test/token", client_id="me")
    upstream = ScriptedUpstream(a=[stream(*events()[:5], block)])
    bench = FakeGateway(provider("a", oauth2=grant), upstream=upstream)
    sent = await ask(bench, parse_response, stream=True)
    assert b"response.failed" in sent
    assert sent.count(b"[secret]") >= 3
    assert b"token-0-of-1" not in sent
    assert b"sk-secret-of-a" not in sent
