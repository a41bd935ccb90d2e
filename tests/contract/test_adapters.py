"""What every adapter promises, in the registry or in a plug-in; recordings are found by their folder."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.config.deployments import EnabledProvider
from llm_gateway.core.config.providers import Provider, provider_faults
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import Adapter, ReplyStream, UpstreamErrorBody
from llm_gateway.providers.registry import ADAPTERS as BUILT_IN
from llm_gateway.wire.errors import BadReply
from tests.fakes.plugins import acme_llm, parrot_llm
from tests.fakes.whole_replies import read_whole_reply

WIRE = Path(__file__).parents[1] / "wire"
SECRET = "sk-known-to-headers-alone"
# Like a name in a path, and like one that must not be able to leave its place there.
UPSTREAM_MODELS = ("some-model-1", "a/b:c?d=e#f g")
EVENT_LIMIT = 1 << 20
GARBAGE = (
    b"", b"<html>busy</html>", b"null", b"[1]", b'"text"', b"17", b'{"choices":', b"\xff\xfe",
    b"[" * 20_000, b'{"a":' * 20_000,
)  # fmt: skip

# The examples of docs/how-to/write-a-provider-kind.md keep the same promises.
ADAPTERS: dict[str, Adapter] = {**BUILT_IN, "acme": acme_llm.ADAPTER, "parrot": parrot_llm.ADAPTER}
KINDS = {name: adapter.kind for name, adapter in ADAPTERS.items()}
adapters = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
streams = pytest.mark.parametrize(
    ("adapter", "recording"),
    [
        pytest.param(adapter, path, id=str(path.relative_to(WIRE).with_suffix("")))
        for name, adapter in ADAPTERS.items()
        for path in sorted((WIRE / name).rglob("*.sse")) + sorted((WIRE / name).rglob("*.jsonl"))
    ],
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ERROR_NAMES = st.sampled_from(
    [
        "error",
        "message",
        "detail",
        "type",
        "code",
        "param",
        "status",
        "innererror",
        "metadata",
        "raw",
        "errors",
    ]
)
ERROR_LIKE = st.recursive(
    JSON,
    lambda inner: st.dictionaries(ERROR_NAMES, inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=8,
)


def request(endpoint: EndpointName = "chat/completions", **more: Any) -> ModelRequest:
    asked: dict[str, Any] = {"model": "public", "temperature": 0.5, **more}
    words = {"completions": "prompt", "embeddings": "input", "responses": "input"}
    if endpoint in words:
        asked[words[endpoint]] = "hello"
    else:
        asked["messages"] = [{"role": "user", "content": "hello"}]
    if endpoint == "embeddings":
        del asked["temperature"]
    return ModelRequest(
        endpoint=endpoint,
        model="public",
        stream=bool(more.get("stream")),
        wants_usage=bool(more.get("stream_options")),
        fields={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in asked.items()},
        created=1_764_000_000,
    )


def serving(adapter: Adapter, secret: str | None = SECRET, **more: Any) -> EnabledProvider:
    scheme = adapter.kind.schemes[-1]
    api_base = adapter.kind.default_api_base or f"{scheme}://provider.test"
    provider = Provider(
        id=1,
        provider_key="p",
        provider_type=adapter.kind.name,
        api_base=api_base,
        secret=None if secret is None else Secret(secret),
        **more,
    )
    return EnabledProvider(provider, adapter.kind)


@adapters
def test_a_kind_can_be_configured_as_it_is(adapter: Adapter) -> None:
    assert ADAPTERS[adapter.kind.name] is adapter
    assert adapter.kind.endpoints
    assert provider_faults(serving(adapter).provider, KINDS) == []


@adapters
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("upstream_model", UPSTREAM_MODELS)
@pytest.mark.parametrize("api_version", [None, "2024-10-21"])
def test_a_request_goes_below_the_base_with_its_secret_in_a_header_alone(
    adapter: Adapter, stream: bool, upstream_model: str, api_version: str | None
) -> None:
    provider = serving(adapter, api_version=api_version)
    deployment = provider.deployment(upstream_model)
    for endpoint in adapter.kind.endpoints:
        asked = request(endpoint, stream=stream)
        sent = adapter.encode(asked, deployment, {"x-request-id": "ours"})
        base, url = urlsplit(provider.base_url), urlsplit(sent.url)
        assert (url.scheme, url.netloc, url.fragment) == (base.scheme, base.netloc, "")
        assert url.path.startswith(base.path)
        assert sent.url.isascii()
        assert " " not in sent.url
        assert isinstance(msgspec.json.decode(sent.body), dict)
        assert sent.method == "POST"
        assert SECRET not in sent.url
        assert SECRET.encode() not in sent.body
        assert sum(SECRET in value for value in sent.headers.values()) == 1
        assert sent.headers["x-request-id"] == "ours"
        assert sent.headers["content-type"] == "application/json"
        assert all(name == name.lower() for name in sent.headers)
        assert asked.fields == request(endpoint, stream=stream).fields, (
            "the request is not the adapter's to change"
        )


@adapters
def test_a_provider_without_a_secret_is_shown_none(adapter: Adapter) -> None:
    provider = serving(adapter, secret=None)
    sent = adapter.encode(request(), provider.deployment("m"), {})
    listed = adapter.models_request(provider)
    for headers in (sent.headers, listed.headers):
        assert not {"authorization", "api-key", "x-api-key", "x-goog-api-key"} & headers.keys()


@adapters
def test_models_are_asked_for_at_the_same_place(adapter: Adapter) -> None:
    provider = serving(adapter)
    sent = adapter.models_request(provider)
    assert (sent.method, sent.body) == ("GET", b"")
    assert urlsplit(sent.url).netloc == urlsplit(provider.base_url).netloc
    assert SECRET not in sent.url
    assert sum(SECRET in value for value in sent.headers.values()) == 1


@adapters
@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_a_bad_reply(adapter: Adapter, body: bytes) -> None:
    with pytest.raises(BadReply):
        adapter.decode(body, request())
    with pytest.raises(BadReply):
        read_whole_reply(adapter, body, request(stream=True))
    if body != b"[1]":
        with pytest.raises(BadReply):
            adapter.decode_models(body)


@adapters
@given(body=st.binary(max_size=64) | (JSON | ERROR_LIKE).map(msgspec.json.encode))
def test_any_bytes_are_an_answer_or_a_bad_reply(adapter: Adapter, body: bytes) -> None:
    refusal = adapter.decode_error(body)
    assert isinstance(refusal, UpstreamErrorBody)
    said = (refusal.message, refusal.type, refusal.code, refusal.param)
    assert all(isinstance(text, str | None) for text in said)
    for decode in (
        lambda: adapter.decode(body, request()),
        lambda: read_whole_reply(adapter, body, request(stream=True)),
        lambda: adapter.decode_models(body),
    ):
        with suppress(BadReply):
            decode()


@adapters
@given(
    st.lists(
        st.binary(max_size=16) | st.sampled_from([b"data: {}", b"\n\n", b"data: ", b"[DONE]"]), max_size=12
    )
)
def test_a_stream_of_any_bytes_is_read_or_a_bad_reply(adapter: Adapter, pieces: list[bytes]) -> None:
    read(adapter, pieces)


def read(adapter: Adapter, pieces: list[bytes], **asked: Any) -> tuple[bytes, ReplyStream, str | None]:
    """Return what goes on to the client, the reader, and why the stream was found bad, if it was."""
    reader = adapter.stream(request(stream=True, **asked), event_limit=EVENT_LIMIT)
    out = b""
    try:
        for piece in pieces:
            out += reader.feed(piece)
            if reader.refusal is not None or reader.done:
                return out, reader, None
        out += reader.end()
    except BadReply as bad:
        return out, reader, str(bad)
    return out, reader, None


def learnt(read_as: tuple[bytes, ReplyStream, str | None]) -> tuple[object, ...]:
    out, reader, bad = read_as
    state = (reader.content_seen, reader.done, reader.finished, reader.refusal, reader.usage)
    return out, bad, state, reader.sample().total_bytes


@streams
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}], ids=["", "usage"])
def test_a_recorded_stream_reads_the_same_however_it_is_cut(
    adapter: Adapter, recording: Path, options: dict[str, Any]
) -> None:
    sent = recording.read_bytes()
    whole = learnt(read(adapter, [sent], **options))
    assert learnt(read(adapter, [sent[i : i + 1] for i in range(len(sent))], **options)) == whole
    for size in (2, 3, 7, 64, 1000):
        assert (
            learnt(read(adapter, [sent[i : i + size] for i in range(0, len(sent), size)], **options)) == whole
        )


@streams
@given(data=st.data())
def test_a_recorded_stream_reads_the_same_under_any_cut(
    adapter: Adapter, recording: Path, data: st.DataObject
) -> None:
    sent = recording.read_bytes()
    places = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=12)))
    pieces = [sent[a:b] for a, b in itertools.pairwise([0, *places, len(sent)])]
    assert learnt(read(adapter, pieces)) == learnt(read(adapter, [sent]))


@streams
def test_a_recorded_stream_gives_whole_events_of_openais_shape(adapter: Adapter, recording: Path) -> None:
    # A recording may be of a stream that fails, or is cut.
    out, _, _ = read(adapter, [recording.read_bytes()])
    assert b"[DONE]" not in out
    assert out == b"" or out.endswith((b"\n\n", b"\r\n\r\n"))
    for event in out.replace(b"\r\n", b"\n").split(b"\n\n"):
        for line in event.split(b"\n"):
            if line.startswith(b"data:"):
                chunk = msgspec.json.decode(line[5:])
                assert isinstance(chunk["choices"], list)


@pytest.mark.parametrize("kind", ["openai", "azure", "mistral"])
def test_the_familys_streams_are_recorded_to_their_end(kind: str) -> None:
    recordings = sorted((WIRE / kind).rglob("*.sse"))
    assert recordings
    for recording in recordings:
        _, reader, bad = read(ADAPTERS[kind], [recording.read_bytes()])
        assert (reader.content_seen, reader.finished, reader.done, bad) == (True, True, True, None)


@adapters
def test_a_request_shows_no_secret_when_it_is_printed(adapter: Adapter) -> None:
    provider = serving(adapter)
    for sent in (adapter.encode(request(), provider.deployment("m"), {}), adapter.models_request(provider)):
        assert SECRET not in repr(sent)
        assert SECRET not in f"{sent}"
