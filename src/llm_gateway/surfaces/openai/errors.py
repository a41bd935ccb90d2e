"""OpenAI's error format, for responses and streams; the admin API and unknown paths use it, too."""

from __future__ import annotations

from typing import Final

import msgspec

from llm_gateway.core.errors import GatewayError
from llm_gateway.flow.ports.dialect import ErrorFormat, ErrorResponse

_JSON: Final = ((b"content-type", b"application/json"),)


class OpenAIErrors(ErrorFormat):
    """Renders `{"error": {"message", "type", "param", "code"}}`, and the details that some errors have."""

    def error_response(self, error: GatewayError, request_id: str) -> ErrorResponse:
        del request_id
        return ErrorResponse(error.status, _JSON, openai_error(error))


OPENAI_ERRORS: Final = OpenAIErrors()


def openai_error(error: GatewayError) -> bytes:
    """Return OpenAI's JSON for an error."""
    return msgspec.json.encode({"error": error_fields(error)})


def error_fields(error: GatewayError) -> dict[str, str | int | None]:
    """Return the fields of OpenAI's error object, and after them those that only this error has."""
    fields: dict[str, str | int | None] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    if error.details is not None:
        fields.update(error.details)
    return fields
