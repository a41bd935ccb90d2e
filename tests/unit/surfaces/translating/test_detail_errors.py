"""Errors as FastAPI's applications write them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import (
    BadRequest,
    BodyTooLarge,
    GatewayError,
    ModelNotFound,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
    Unprocessable,
    UpstreamRefused,
)
from llm_gateway.surfaces.translating.bodies import read_body
from llm_gateway.surfaces.translating.detail_errors import DetailErrors


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    prompt: str
    messages: list[dict[str, str]] = []


DECODER = msgspec.json.Decoder(_Body)


def _rendered(error: GatewayError) -> tuple[int, dict[str, Any]]:
    response = DetailErrors().error_response(error, "an-id")
    assert response.headers == ((b"content-type", b"application/json"),)
    return response.status, msgspec.json.decode(response.body)


def test_an_error_has_a_sentence_and_its_facts() -> None:
    assert _rendered(ModelNotFound("There is no model 'x'.", param="model")) == (
        404,
        {
            "detail": "There is no model 'x'.",
            "error": {
                "type": "invalid_request_error",
                "code": "model_not_found",
                "param": "model",
                "request_id": "an-id",
            },
        },
    )


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        (b"{", ["body"], "json_invalid"),
        (b"[]", ["body"], "type_error"),
        (b"{}", ["body", "prompt"], "missing"),
        (b'{"prompt": "a", "x": 1}', ["body", "x"], "extra_forbidden"),
        (b'{"prompt": 1}', ["body", "prompt"], "type_error"),
        (b'{"prompt": "a", "messages": [{"role": 1}]}', ["body", "messages"], "type_error"),
    ],
)
def test_a_wrong_body_is_a_list_of_its_faults(body: bytes, loc: list[str], kind: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_body(body, DECODER, ("prompt", "messages"))
    status, fields = _rendered(caught.value)
    assert status == 422
    (fault,) = fields["detail"]
    assert (fault["loc"][:2], fault["type"], fault["msg"]) == (loc, kind, caught.value.message)


def test_a_value_that_is_not_allowed_names_its_place() -> None:
    status, fields = _rendered(BadRequest("It is empty.", param="messages[2].content"))
    assert (status, fields["detail"]) == (
        422,
        [{"loc": ["body", "messages", 2, "content"], "msg": "It is empty.", "type": "value_error"}],
    )


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (Unprocessable("x", param="since"), ["query", "since"]),
        (Unprocessable("x"), ["query"]),
    ],
)
def test_a_query_is_named_as_such(error: GatewayError, place: list[str]) -> None:
    status, fields = _rendered(error)
    assert (status, fields["detail"][0]["loc"]) == (422, place)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadRequest("Two keys.", code="ambiguous_api_key"), 400),
        (BodyTooLarge("Too large."), 413),
        (Unauthenticated("Who?"), 401),
        (RateLimited("Wait."), 429),
        (UpstreamRefused("No.", status=400, param="temperature"), 400),
    ],
)
def test_all_else_keeps_its_status(error: GatewayError, status: int) -> None:
    got, fields = _rendered(error)
    assert (got, fields["detail"]) == (status, error.message)


def test_details_of_a_quota_are_told() -> None:
    error = QuotaExceeded("Spent.", scope="user", limit=5, used=5, held=0, reset_at=None)
    assert _rendered(error)[1]["error"]["scope"] == "user"
