"""Secrets and addresses of a provider do not leave the gateway in its error messages."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.secret import Secret
from llm_gateway.flow.failures.redaction import redact, redact_json, refused
from llm_gateway.flow.gateway import Options
from llm_gateway.providers.base import UpstreamErrorBody
from tests.fakes.chat_requests import HELLO, ask, ask_stream, begin_stream, consume, stream
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.routing import snapshot_of


@pytest.fixture
def deployment() -> Deployment:
    route = snapshot_of(provider("a")).route("m")
    assert route is not None
    return msgspec.structs.replace(
        route.deployments[0], base_url="https://a.test/v1", secret=Secret("pass.word")
    )


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("no pass.word here", "no [secret] here"),
        ("passXword", "passXword"),
        ("GET https://a.test/v1/chat", "GET [provider]/chat"),
        ("cannot resolve a.test", "cannot resolve [provider]"),
        ("key sk-abcDEF123 and pk-*****123", "key [secret] and [secret]"),
        ("sk-abc is short", "sk-abc is short"),
        ("task-oriented-dialogue", "task-oriented-dialogue"),
    ],
)
def test_secrets_addresses_and_keys_are_replaced(text: str, safe: str, deployment: Deployment) -> None:
    assert redact(text, deployment) == safe


@pytest.mark.parametrize("secret", [None, Secret("")])
def test_without_a_secret_the_text_stays(secret: Secret | None, deployment: Deployment) -> None:
    assert redact("abc", msgspec.structs.replace(deployment, secret=secret)) == "abc"


def test_a_long_message_is_shortened_after_its_secrets_are_gone(deployment: Deployment) -> None:
    assert redact("x" * 4092 + "pass.word", deployment) == "x" * 4092 + "[sec"


@pytest.mark.parametrize("before", range(0, 40, 7))
def test_a_secret_that_is_cut_in_half_is_not_told(before: int, deployment: Deployment) -> None:
    secret = "".join(f"{number:04d}" for number in range(750))
    safe = redact("x" * before + secret * 100, msgspec.structs.replace(deployment, secret=Secret(secret)))
    assert safe.replace("[secret]", "").strip("x") == ""


def test_an_endless_message_is_not_searched_to_its_end(deployment: Deployment) -> None:
    began = time.process_time()
    assert len(redact("bearer sk-abc " * (1 << 20), deployment)) == 4096
    assert time.process_time() - began < 0.2


def test_all_fields_of_the_error_are_redacted(deployment: Deployment) -> None:
    words = UpstreamErrorBody(
        message="m pass.word", type="t pass.word", code="c pass.word", param="p pass.word"
    )
    error = refused(words, 422, deployment, retry_after=3.0)
    assert (error.message, error.type, error.code, error.param) == (
        "m [secret]",
        "t [secret]",
        "c [secret]",
        "p [secret]",
    )
    assert (error.status, error.retry_after) == (422, 3.0)


def test_an_error_without_words_names_the_status(deployment: Deployment) -> None:
    error = refused(UpstreamErrorBody(), 418, deployment)
    assert error.message == "The provider refused the request with status 418."
    assert (error.type, error.code, error.param) == ("invalid_request_error", None, None)


SECRET = 'p&ss/w"rd+\u00e9 7'
FORMS = [
    SECRET,
    "p%26ss%2Fw%22rd%2B%C3%A9%207",
    "p%26ss%2fw%22rd%2b%c3%a9%207",
    "p%26ss/w%22rd%2B%C3%A9%207",
    "p%26ss%2Fw%22rd%2B%C3%A9+7",
    'p&ss/w\\"rd+\\u00e9 7',
    'p&ss/w\\"rd+\u00e9 7',
    'p&ss\\/w\\"rd+\\u00e9 7',
    "p&amp;ss/w&quot;rd+\u00e9 7",
    SECRET.encode().hex(),
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_replaced_however_it_is_escaped(form: str, deployment: Deployment) -> None:
    known = msgspec.structs.replace(deployment, secret=Secret(SECRET))
    assert redact(f"<{form}>", known) == "<[secret]>"


@pytest.mark.parametrize("before", ["", "a", "ab", "me:", "Authorization: "])
@pytest.mark.parametrize("behind", ["", "z", "zz"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_in_base64_is_replaced_wherever_it_stands(
    before: str, behind: str, encode: Callable[[bytes], bytes], deployment: Deployment
) -> None:
    known = msgspec.structs.replace(deployment, secret=Secret("a+long>secret?of~mine"))
    text = encode(f"{before}a+long>secret?of~mine{behind}".encode()).decode()
    shown = redact(f"it was {text}", known)
    assert shown.startswith("it was ")
    # At most four characters at either end belong to the secret and to its neighbours.
    left = shown.removeprefix("it was ").partition("[secret]")
    assert left[1]
    assert len(left[0]) <= 4 * len(before) // 3 + 4
    assert len(left[2]) <= 4 * len(behind) // 3 + 6


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("sent Bearer abcdefgh12345678.xyz to it", "sent Bearer [secret] to it"),
        ("authorization: bearer ABCDEFGH12345678==", "authorization: bearer [secret]"),
        ("Basic bWU6cGFzc3dvcmQ0Mg==", "Basic [secret]"),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln expired", "token [secret] expired"),
        ("bearer authentication-is-required here", "bearer authentication-is-required here"),
        ("a basic understanding of it", "a basic understanding of it"),
    ],
)
def test_what_looks_like_a_secret_is_replaced_although_nobody_knows_it(
    text: str, safe: str, deployment: Deployment
) -> None:
    assert redact(text, deployment) == safe


def test_all_strings_of_a_json_document_are_redacted(deployment: Deployment) -> None:
    document = {"a": ["pass.word", {"b": "x pass.word"}], "pass": 1, "n": None, "long": "y" * 9000}
    safe = msgspec.json.decode(redact_json(msgspec.json.encode(document), deployment))
    assert safe == {"a": ["[secret]", {"b": "x [secret]"}], "pass": 1, "n": None, "long": "y" * 9000}


# --- OAuth2 ------------------------------------------------------------------------------------------

GRANT = ClientCredentials(token_url="https://id.test/token", client_id="me")
TOKEN = "token-0-of-1"
CLIENT_SECRET = "sk-secret-of-a"
BASIC = base64.b64encode(f"me:{CLIENT_SECRET}".encode()).decode()
TELLTALE = f"no {TOKEN} or {TOKEN.replace('-', '%2D')} or {CLIENT_SECRET} or {BASIC}"
ERROR = {"error": {"message": TELLTALE, "type": "server_error", "code": TOKEN, "param": TOKEN}}
ANTHROPIC_ERROR = {"type": "error", "error": {"type": "api_error", "message": TELLTALE}}
ANTHROPIC_EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [],
            "usage": {"input_tokens": 1, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    ANTHROPIC_ERROR,
]  # fmt: skip
ANTHROPIC_STREAM = [
    f"event: {event['type']}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"
    for event in ANTHROPIC_EVENTS
]
GEMINI_STREAM = [
    b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]},"index":0}]}\n\n',
    b"data: " + msgspec.json.encode(ERROR | {"candidates": []}) + b"\n\n",
]
STREAMS = {
    "openai": [HELLO, b"data: " + msgspec.json.encode(ERROR) + b"\n\n"],
    "anthropic": ANTHROPIC_STREAM,
    "gemini": GEMINI_STREAM,
}


def _is_clean(told: str) -> bool:
    return not any(each in told for each in (TOKEN, TOKEN.replace("-", "%2D"), CLIENT_SECRET, BASIC))


def _bench(kind: str, answer: FakeReply) -> FakeGateway:
    return FakeGateway(
        provider("a", provider_type=kind, oauth2=GRANT),
        upstream=ScriptedUpstream(a=answer),
        options=Options(max_retries=0),
    )


@pytest.mark.parametrize("kind", STREAMS)
async def test_an_error_in_a_stream_tells_no_access_token(kind: str) -> None:
    bench = _bench(kind, stream(*STREAMS[kind]))
    sent = (await ask_stream(bench)).decode()
    assert "Hello" in sent
    assert "[secret]" in sent
    assert _is_clean(sent)
    assert _is_clean(repr(bench.recorder.record))


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("status", [200, 400, 404, 429])
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_before_any_content_tells_no_access_token(
    kind: str, status: int, streamed: bool
) -> None:
    body = ANTHROPIC_ERROR if kind == "anthropic" else ERROR
    bench = _bench(kind, FakeReply(msgspec.json.encode(body), status=status, content_type="application/json"))
    with pytest.raises(GatewayError) as caught:
        await (ask_stream(bench) if streamed else ask(bench))
    error = caught.value
    assert _is_clean(f"{error.message} {error.code} {error.param} {error.type}")
    assert all(_is_clean(repr(failed)) for failed in bench.recorder.ended_attempts)


async def test_a_token_that_was_renewed_meanwhile_is_not_told_either() -> None:
    late = b'data: {"error":{"message":"token-0-of-1 and token-2-of-1 are gone"}}\n\n'
    bench = _bench("openai", stream(HELLO, late))
    reply = await begin_stream(bench, stream(HELLO, late))
    bench.tokens.forgotten += [Secret("token-0-of-1"), Secret("token-1-of-1")]
    sent = (await consume(reply)).decode()
    assert "[secret] and [secret] are gone" in sent


@pytest.mark.parametrize(
    ("words", "type_"),
    [
        ({}, "upstream_error"),
        ({"message": "boom"}, "upstream_error"),
        ({"message": "boom", "type": ""}, "upstream_error"),
        ({"message": "boom", "code": "502"}, "upstream_error"),
        ({"message": "boom", "code": "overloaded"}, "upstream_error"),
        ({"message": "slow", "code": "429"}, "rate_limit_error"),
        ({"message": "no", "code": "400"}, "invalid_request_error"),
        ({"message": "no", "about": "context_length"}, "invalid_request_error"),
        ({"message": "no", "type": "overloaded_error"}, "overloaded_error"),
    ],
)
def test_an_error_in_band_is_the_providers_failure_unless_it_says_otherwise(
    deployment: Deployment, words: dict[str, Any], type_: str
) -> None:
    error = refused(UpstreamErrorBody(**words), 200, deployment)
    assert error.type == type_
    assert "status 200" not in error.message
