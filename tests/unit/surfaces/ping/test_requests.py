"""Bodies become requests with defaults and attribution; `tests/e2e/ping` has what is refused."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.flow.ports.dialect import PresentedKey
from llm_gateway.surfaces.ping.callers import NamedCaller
from llm_gateway.surfaces.ping.options import PingOptions
from llm_gateway.surfaces.ping.requests import checked_name, read_chat, read_completion
from tests.fakes.incoming_calls import IncomingCallOf

OPTIONS = PingOptions(default_model="gemini", default_max_tokens=100, default_temperature=0.25)
ADA = IncomingCallOf(NamedCaller("ada"))


def test_what_is_left_out_has_defaults() -> None:
    request, stated = read_completion(OPTIONS, b'{"prompt": "hi"}', ADA)
    assert (request.model, request.stream) == ("gemini", False)
    assert {name: msgspec.json.decode(raw) for name, raw in request.fields.items()} == {
        "model": "gemini",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.25,
        "max_tokens": 100,
    }
    assert (stated.user, stated.soeid, stated.project) == ("ada", "ada", "default_project")


def test_a_body_says_for_whom_it_is() -> None:
    body = b'{"prompt": "hi", "soeid": "bob", "project_name": "p", "stream": true}'
    request, stated = read_chat(OPTIONS, body, ADA)
    assert request.stream
    # The token says who called, whatever the body says.
    assert (stated.user, stated.soeid, stated.project) == ("ada", "bob", "p")
    _, stated = read_chat(OPTIONS, body, IncomingCallOf(PresentedKey("sk")))
    assert (stated.user, stated.soeid) == ("bob", "bob")
    _, stated = read_chat(OPTIONS, b'{"prompt": "hi"}', IncomingCallOf(PresentedKey("sk")))
    assert (stated.user, stated.soeid) == (None, "default_user")


def test_text_of_any_language_arrives_as_it_is() -> None:
    body = msgspec.json.encode({"prompt": "¿Qué tal? \u0000 😀 \u2028"})
    request, _ = read_completion(OPTIONS, body, ADA)
    assert msgspec.json.decode(request.fields["messages"])[0]["content"] == "¿Qué tal? \u0000 😀 \u2028"


@pytest.mark.parametrize("body", [b'{"prompt": "\\ud800"}', b'{"prompt": "\xff"}', b'{"prompt": "a"'])
def test_what_is_no_text_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_completion(OPTIONS, body, ADA)


@pytest.mark.parametrize("name", [None, "", "a", "x" * 256, "Ünï côdé"])
def test_names(name: str | None) -> None:
    assert checked_name("f", name) == (name or None)


@pytest.mark.parametrize("name", ["x" * 257, "a\nb", "\x00", "\u2028", "\u202e"])
def test_names_that_cannot_be_stored(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        checked_name("f", name)
    assert caught.value.param == "f"
