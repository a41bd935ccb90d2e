"""Requests and whole replies of OpenAI and compatible servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.providers.registry import ADAPTERS
from llm_gateway.wire.errors import BadReply
from tests.fakes.openai_requests import body, enabled_provider, encoded, model_request

WIRE = Path(__file__).parents[3] / "wire"


def test_the_stream_usage_setting_overrides_the_kind() -> None:
    sent = encoded("mistral", model_request(stream=True), stream_usage=True)
    assert body(sent)["stream_options"] == {"include_usage": True}
    refused = encoded("openai", model_request(stream=True), stream_usage=False)
    assert "stream_options" not in body(refused)


@pytest.mark.parametrize("endpoint", ["embeddings", "responses"])
def test_stream_options_are_not_added_at_endpoints_without_them(endpoint: EndpointName) -> None:
    assert "stream_options" not in body(encoded("openai", model_request(endpoint, stream=True)))


@pytest.mark.parametrize(
    ("path", "count"),
    [(path, int(path.name.split(".")[1])) for path in sorted(WIRE.glob("*/models.*.json"))],
    ids=lambda value: value.parent.name if isinstance(value, Path) else "",
)
def test_every_recorded_model_list_is_read(path: Path, count: int) -> None:
    adapter = ADAPTERS.get(path.parent.name)
    assert adapter is not None
    names = adapter.decode_models(path.read_bytes())
    assert len(names) == count
    assert all(names)


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 3, "completion_tokens": 0}])
def test_an_error_with_a_2xx_status_is_a_refusal(usage: Any) -> None:
    told = {
        "id": "gen-1",
        "choices": [],
        "usage": usage,
        "error": {"code": 502, "message": "Provider disconnected."},
    }
    openrouter = ADAPTERS["openrouter"]
    refusal = UpstreamErrorBody(message="Provider disconnected.", code="502")
    assert openrouter.decode(msgspec.json.encode(told), model_request()).refusal == refusal
    reader = openrouter.stream(model_request(stream=True), event_limit=1 << 20)
    assert reader.whole(msgspec.json.encode(told)) == b""
    assert (reader.refusal, reader.done) == (refusal, False)


@pytest.mark.parametrize("error", [None, {}, ""])
def test_an_empty_error_field_is_no_error(error: Any) -> None:
    told = msgspec.json.encode({"data": [{"embedding": [0.5]}], "error": error})
    assert ADAPTERS["openai"].decode(told, model_request("embeddings")).refusal is None


def test_all_fields_but_the_model_pass_byte_for_byte() -> None:
    raw = msgspec.Raw(b'{"big": 12345678901234567890123, "f":1.10, "u":"\\u00e9"}')
    request = model_request(model="public", temperature=0.5)
    request.fields["unknown"] = raw
    sent = encoded("openai", request, "up/stream")
    assert sent.body == b'{"model":"up/stream","temperature":0.5,"unknown":' + bytes(raw) + b"}"
    assert sent.ignored_fields == ()


def test_the_accept_header_tells_a_stream_from_a_whole_reply() -> None:
    assert encoded("openai", model_request()).headers["accept"] == "application/json"
    assert encoded("openai", model_request(stream=True)).headers["accept"] == "text/event-stream"


def test_extra_headers_win_over_the_adapters_own() -> None:
    deployment = enabled_provider("openai").deployment("m")
    sent = ADAPTERS["openai"].encode(model_request(), deployment, {"user-agent": "mine", "x-team": "a"})
    assert (sent.headers["user-agent"], sent.headers["x-team"]) == ("mine", "a")


@pytest.mark.parametrize("given", [None, "yes", [], {"include_usage": False}])
def test_a_streams_usage_is_requested_if_the_client_did_not(given: Any) -> None:
    request = model_request(stream=True)
    if given is not None:
        request.fields["stream_options"] = msgspec.Raw(msgspec.json.encode(given))
    assert body(encoded("openai", request))["stream_options"] == {"include_usage": True}


def test_other_stream_options_of_the_client_stay() -> None:
    request = model_request(stream=True)
    request.fields["stream_options"] = msgspec.Raw(b'{"include_obfuscation":false}')
    options = body(encoded("openai", request))["stream_options"]
    assert options == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize(
    "usage", [b'"much"', b"[]", b"5", b"true", b'{"prompt_tokens":"many"}', b'{"prompt_tokens":-1}']
)
def test_a_reply_with_an_unusual_usage_passes_without_it(usage: bytes) -> None:
    reply = b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":' + usage + b"}"
    completion = ADAPTERS["openai"].decode(reply, model_request())
    assert (completion.body, completion.usage, completion.refusal) == (reply, None, None)


def test_an_error_beside_an_answer_is_not_a_refusal() -> None:
    reply = b'{"choices":[{"message":{"content":"a"}}],"error":{"message":"partial"}}'
    assert ADAPTERS["openai"].decode(reply, model_request()).refusal is None


@pytest.mark.parametrize("listed", [b'{"data":null}', b'{"data":[]}', b"[]"])
def test_a_provider_may_have_no_models(listed: bytes) -> None:
    assert ADAPTERS["openai"].decode_models(listed) == []


@pytest.mark.parametrize("listed", [b"{}", b'{"data":[{"name":"m"}]}', b'{"data":5}', b"<html>", b"[5]"])
def test_an_unreadable_model_list_is_a_bad_reply(listed: bytes) -> None:
    with pytest.raises(BadReply, match="list of models"):
        ADAPTERS["openai"].decode_models(listed)
