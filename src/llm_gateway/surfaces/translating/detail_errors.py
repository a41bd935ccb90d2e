"""FastAPI's error format, `{"detail": ...}`, as the applications had that some surfaces replace."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llm_gateway.core.errors import BadRequest, GatewayError, Unprocessable
from llm_gateway.flow.ports.dialect import ErrorFormat, ErrorResponse, Headers
from llm_gateway.surfaces.translating.bodies import INVALID_JSON, MISSING_FIELD, UNKNOWN_FIELD, WRONG_TYPE

_JSON: Final[Headers] = ((b"content-type", b"application/json"),)
_INVALID: Final = 422
# FastAPI's names of what may be wrong with a field.
_TYPES: Final[dict[str | None, str]] = {
    INVALID_JSON: "json_invalid",
    MISSING_FIELD: "missing",
    UNKNOWN_FIELD: "extra_forbidden",
    WRONG_TYPE: "type_error",
}


class DetailErrors(ErrorFormat):
    """Renders `{"detail", "error": {"type", "code", "param", "request_id"}}`, and the details that some errors have.

    `detail` is a sentence. Of a body or a query that is wrong it is FastAPI's list of
    `{"loc", "msg", "type"}`, with status 422.
    """

    def error_response(self, error: GatewayError, request_id: str) -> ErrorResponse:
        status = _INVALID if _is_invalid(error) else error.status
        return ErrorResponse(status, _JSON, msgspec.json.encode(detail_fields(error, request_id)))


def detail_fields(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Return the fields of an error, for a response or for an event of a stream."""
    return {
        "detail": _invalid_field(error) if _is_invalid(error) else error.message,
        "error": {
            "type": error.type,
            "code": error.code,
            "param": error.param,
            "request_id": request_id,
            **(error.details or {}),
        },
    }


def _is_invalid(error: GatewayError) -> bool:
    if isinstance(error, Unprocessable):
        return True
    if type(error) is not BadRequest:
        return False
    return error.param is not None or error.code in {INVALID_JSON, WRONG_TYPE}


def _invalid_field(error: GatewayError) -> list[dict[str, Any]]:
    part = "query" if isinstance(error, Unprocessable) else "body"
    path = error.param.replace("[", ".").replace("]", "").split(".") if error.param else []
    place = [part, *(int(step) if step.isascii() and step.isdigit() else step for step in path if step)]
    return [{"loc": place, "msg": error.message, "type": _TYPES.get(error.code, "value_error")}]
