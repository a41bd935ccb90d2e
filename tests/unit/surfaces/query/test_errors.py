"""Every error of the gateway in the words of the query gateway."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core import errors
from llm_gateway.core.errors import (
    BadRequest,
    GatewayError,
    QuotaExceeded,
    RateLimited,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from llm_gateway.surfaces.query.errors import QUERY_ERRORS, QueryErrors, error_fields, error_type, friendly


def _classes(base: type[GatewayError]) -> list[type[GatewayError]]:
    return [base, *(one for child in base.__subclasses__() for one in _classes(child))]


PLAIN = [
    kind
    for kind in _classes(GatewayError)
    if kind.__module__ == errors.__name__ and kind not in {QuotaExceeded, UpstreamRefused}
]


@pytest.mark.parametrize("kind", PLAIN, ids=[kind.__name__ for kind in PLAIN])
def test_s3_11_every_error_has_a_kind_and_a_sentence(kind: type[GatewayError]) -> None:
    error = kind("What is wrong.", param="query")
    response = QUERY_ERRORS.error_response(error, "the-id")
    body = msgspec.json.decode(response.body)
    assert (response.status, body["code"], body["param"]) == (error.status, error.code, "query")
    assert body["request_id"] == "the-id"
    assert body["error"].endswith((".", ")"))
    assert body["error_type"] in {
        "timeout", "unavailable", "rate_limit", "quota", "cost_limit", "authentication", "permission", "not_found",
        "invalid_request", "provider_error", "internal",
    }  # fmt: skip


def test_s3_9_when_to_come_back_is_what_the_header_says() -> None:
    assert error_fields(RateLimited("Slow.", retry_after=2.1), None)["retry_after"] == 3
    assert "retry_after" not in error_fields(BadRequest("Wrong."), None)
    assert friendly(RateLimited("Slow.", retry_after=1)).startswith(
        "Too many requests: try again in 1 second."
    )
    assert "in 30 seconds" in friendly(UpstreamUnavailable("Down.", retry_after=30))


def test_s3_11_what_a_provider_refuses_is_said_in_its_words_unless_it_is_busy() -> None:
    busy = UpstreamRefused("Rate limit for org-1.", status=429, retry_after=7)
    assert (error_type(busy), "in 7 seconds" in friendly(busy)) == ("rate_limit", True)
    assert "org-1" not in friendly(busy)
    refused = UpstreamRefused("Too hot.", status=400, code="invalid_value")
    assert (error_type(refused), friendly(refused)) == (
        "provider_refused",
        "The model's provider refused the query: Too hot.",
    )
    broke = UpstreamRefused("You have no money left.", status=429, code="insufficient_quota")
    assert "no money left" in friendly(broke)
    assert "too long" in friendly(UpstreamTimedOut("x"))
    assert friendly(UpstreamFailed("It was cut.")).endswith("(It was cut.)")


def test_details_stand_beside_the_error() -> None:
    error = QuotaExceeded("Spent.", scope="tenant", limit="5", used="5", held="0", reset_at=0)
    fields = error_fields(error, "id")
    assert (fields["scope"], fields["reset_at"]) == ("tenant", "1970-01-01T00:00:00Z")
    assert (fields["error_type"], "retry_after" in fields) == ("quota", False)


def test_the_client_s_own_id_comes_back() -> None:
    numbered = QueryErrors()
    numbered.client_request_id = "mine"
    body = msgspec.json.decode(numbered.error_response(BadRequest("Wrong."), "ours").body)
    assert body["request_id"] == "mine"
