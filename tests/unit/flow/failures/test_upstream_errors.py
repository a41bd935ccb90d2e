"""A failed attempt as a failure for the retry rules, an error for the client, and a detail for the log."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import (
    GatewayError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from llm_gateway.core.routing.retry import Failure
from llm_gateway.flow.failures.upstream_errors import (
    bad_reply,
    from_reply,
    from_status,
    from_transport,
    retry_after,
)
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.wire.errors import BadReply
from tests.fakes.in_memory import provider
from tests.fakes.routing import snapshot_of


@pytest.fixture
def deployment() -> Deployment:
    route = snapshot_of(provider("a")).route("m")
    assert route is not None
    return route.deployments[0]


@pytest.mark.parametrize(
    ("status", "kind", "client_status", "code"),
    [
        (400, UpstreamRefused, 400, None),
        (401, UpstreamFailed, 502, "upstream_key_refused"),
        (409, UpstreamRefused, 409, None),
        (429, UpstreamRefused, 429, "rate_limit_exceeded"),
        (500, UpstreamFailed, 502, "upstream_error"),
        (503, UpstreamUnavailable, 503, "upstream_unavailable"),
        (529, UpstreamUnavailable, 503, "upstream_unavailable"),
        (504, UpstreamTimedOut, 504, "upstream_timeout"),
        (302, UpstreamFailed, 502, "upstream_error"),
    ],
)
def test_a_status_gives_the_clients_error(
    status: int, kind: type[GatewayError], client_status: int, code: str | None, deployment: Deployment
) -> None:
    failed = from_status(status, None, None, deployment)
    assert type(failed.error) is kind
    assert (failed.error.status, failed.error.code) == (client_status, code)
    assert failed.failure == Failure(reason="status", status=status)
    assert failed.detail == f"status {status}"


@pytest.mark.parametrize("status", [400, 403, 429])
def test_a_rejected_key_of_the_gateway_is_a_401_under_any_status(status: int, deployment: Deployment) -> None:
    body = UpstreamErrorBody(about="own_secret", message="bad key sk-secret-of-a")
    failed = from_status(status, body, None, deployment)
    assert (failed.failure.status, failed.failure.about) == (401, None)
    assert isinstance(failed.error, UpstreamFailed)
    assert "rejected the gateway's API key" in failed.error.message


def test_the_providers_4xx_keeps_its_words(deployment: Deployment) -> None:
    body = UpstreamErrorBody(message="too long", type="t", code="c", param="p", about="context_length")
    failed = from_status(400, body, None, deployment)
    error = failed.error
    assert (error.message, error.type, error.code, error.param) == ("too long", "t", "c", "p")
    assert failed.failure.about == "context_length"
    limited = from_status(429, body, None, deployment).error
    assert (limited.type, limited.code) == ("rate_limit_error", "c")


@pytest.mark.parametrize(
    ("status", "header", "body", "wait"),
    [
        (429, 7.0, 3.0, 7.0),
        (429, None, 3.0, 3.0),
        (429, None, None, None),
        (503, 7.0, None, 7.0),
        (529, 7.0, None, 7.0),
        (429, 0.0, 3.0, 0.0),
    ],
)
def test_the_time_to_wait_is_from_the_header_or_else_the_body(
    status: int, header: float | None, body: float | None, wait: float | None, deployment: Deployment
) -> None:
    failed = from_status(status, UpstreamErrorBody(retry_after=body), header, deployment)
    assert failed.failure.retry_after == failed.error.retry_after == wait


def test_the_retry_rules_heed_no_wait_of_other_statuses(deployment: Deployment) -> None:
    assert from_status(500, None, 7.0, deployment).failure.retry_after is None
    assert from_status(400, None, 7.0, deployment).failure.retry_after is None


def test_an_error_in_a_2xx_reply_is_redacted(deployment: Deployment) -> None:
    secret = deployment.secret
    assert secret is not None
    body = UpstreamErrorBody(message=f"{secret.reveal()} broke", about="content_policy")
    failed = from_reply(body, deployment)
    assert failed.failure == Failure(reason="protocol", about="content_policy")
    assert (failed.error.status, failed.error.message) == (502, "[secret] broke")
    silent = from_reply(UpstreamErrorBody(), deployment)
    assert silent.error.message == "The provider failed before sending any content."


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (TransportError("timeout", "late"), UpstreamTimedOut, "upstream_timeout"),
        (TransportError("connect", "refused"), UpstreamFailed, "upstream_unreachable"),
        (TransportError("proxy", "refused"), UpstreamFailed, "proxy_failed"),
        (TransportError("cut", "reset"), UpstreamFailed, "upstream_cut"),
        (TransportError("protocol", "no HTTP"), UpstreamFailed, "upstream_bad_reply"),
    ],
)
def test_the_details_of_a_transport_error_are_only_logged(
    fault: TransportError, kind: type[GatewayError], code: str
) -> None:
    failed = from_transport(fault)
    assert type(failed.error) is kind
    assert failed.error.code == code
    assert failed.failure == Failure(reason=fault.kind)
    assert failed.detail == str(fault)
    assert str(fault) not in failed.error.message


def test_an_unreadable_reply_is_a_protocol_failure() -> None:
    failed = bad_reply(BadReply("byte 7"))
    assert failed.failure == Failure(reason="protocol")
    assert (failed.error.code, failed.detail) == ("upstream_bad_reply", "byte 7")
    assert "byte 7" not in failed.error.message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("1000000", 86_400.0),
        (formatdate(1_000_030, usegmt=True), 30.0),
        (formatdate(999_000, usegmt=True), 0.0),
        ("Mon, 99 Foo 2020 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=1_000_000.0) == seconds
