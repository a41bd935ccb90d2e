"""Secrets and addresses of a provider do not leave the gateway in its error messages."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.config.snapshot import Deployment
from llm_gateway.core.secret import Secret
from llm_gateway.flow.request.redaction import redact, refused
from llm_gateway.providers.base import UpstreamErrorBody
from tests.fakes.in_memory import provider
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
