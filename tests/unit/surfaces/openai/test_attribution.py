"""On whose behalf a request is sent: three headers, and the body's user."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution
from llm_gateway.surfaces.openai.attribution import InvalidAttribution, stated_in_headers, with_user_of
from llm_gateway.surfaces.openai.dialect import CHAT, RESPONSE
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream

TAGS, AGENT, USER = b"x-llm-gateway-tags", b"x-llm-gateway-agent", b"x-llm-gateway-user"
CHAT_BODY = {"model": "m", "messages": []}


def read(body: dict[str, Any], headers: dict[bytes, bytes]) -> Attribution:
    call = FakeGateway(upstream=ScriptedUpstream()).call()
    call.attribution = CHAT.attribute(headers)
    return CHAT.read(msgspec.json.encode(body), call)[1]


def test_a_request_that_says_nothing_shares_the_constant() -> None:
    assert read(CHAT_BODY, {b"host": b"x"}) is NO_ATTRIBUTION
    assert stated_in_headers({TAGS: b"", AGENT: b" ", USER: b""}) is NO_ATTRIBUTION


def test_headers_name_tags_agent_and_user() -> None:
    headers = {TAGS: "team=red, job = 42,empty=,x=a=b,é=ü".encode(), AGENT: b" planner ", USER: b"u-1"}
    assert stated_in_headers(headers) == Attribution(
        agent="planner",
        user="u-1",
        tags={"team": "red", "job": "42", "empty": "", "x": "a=b", "é": "ü"},
    )


@pytest.mark.parametrize(
    ("header", "value", "part"),
    [
        (TAGS, b"secret", "team=red"),
        (TAGS, b"=secret", "team=red"),
        (TAGS, b"a=1,a=2", "two tags"),
        (TAGS, b",".join(b"t%d=x" % number for number in range(21)), "more than 20"),
        (TAGS, b"n" * 65 + b"=x", "at most 64"),
        (TAGS, b"n=" + b"x" * 257, "at most 256"),
        (TAGS, b"n=\xff", "UTF-8"),
        (TAGS, b"n=\x7f", "printable"),
        (AGENT, b"x" * 257, "at most 256"),
        (AGENT, b"\x01", "printable"),
        (USER, b"x" * 257, "at most 256"),
        (USER, b"caf\xe9", "UTF-8"),
    ],
)
def test_a_malformed_header_is_named_when_the_body_is_read(header: bytes, value: bytes, part: str) -> None:
    with pytest.raises(BadRequest, match=part) as caught:
        read(CHAT_BODY | {"user": "u"}, {AGENT: b"fine", header: value})
    assert (caught.value.status, caught.value.param) == (400, header.decode())
    assert value.decode("latin-1") not in caught.value.message
    with pytest.raises(BadRequest):
        read(CHAT_BODY, {header: value})
    stated = stated_in_headers({header: value})
    assert isinstance(stated, InvalidAttribution)
    assert (stated.agent, stated.user, stated.tags) == (None, None, None)


def test_as_much_as_is_allowed_is_read() -> None:
    tags = {f"{number:064}": "x" * 256 for number in range(20)}
    header = ", ".join(f"{name}={value}" for name, value in tags.items()).encode()
    assert stated_in_headers({TAGS: header, AGENT: b"a" * 256}).tags == tags


@pytest.mark.parametrize(
    ("user", "found"),
    [("u-1", "u-1"), ("x" * 300, "x" * 256), ("", None), (None, None), (7, None), ({"id": 1}, None)],
)
def test_the_bodys_user_counts_unless_a_header_names_one(user: object, found: str | None) -> None:
    body = CHAT_BODY | {"user": user}
    assert read(body, {}).user == found
    assert read(body, {AGENT: b"a"}) == Attribution(agent="a", user=found)
    assert read(body, {USER: b"header"}).user == "header"


def test_a_user_that_is_no_text_is_none() -> None:
    fields = {"user": msgspec.Raw(b'"\\ud800"')}
    assert with_user_of(fields, NO_ATTRIBUTION).user in (None, "\ud800")


def test_other_endpoints_read_it_too() -> None:
    call = FakeGateway(upstream=ScriptedUpstream()).call(dialect=RESPONSE)
    _, stated = RESPONSE.read(b'{"model":"m","input":"hi","user":"u"}', call)
    assert stated == Attribution(user="u")
