"""Renders FastAPI's errors, and errors raised in its routes, in the gateway's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from llm_gateway.core.errors import (
    BadRequest,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    Unprocessable,
    internal_error,
)
from llm_gateway.flow.ports.dialect import ErrorFormat
from llm_gateway.http.errors import render
from llm_gateway.http.types import request_id_of

_BAD_REQUEST, _NOT_FOUND, _METHOD_NOT_ALLOWED = 400, 404, 405


def add_error_handlers(app: FastAPI, errors: ErrorFormat) -> None:
    """Make `app` render every error with `errors`."""

    def response(request: Request, error: GatewayError, extra: Mapping[str, str] | None = None) -> Response:
        status, headers, body = render(errors, error, request_id_of(request.scope))
        answer = Response(body, status, extra)
        answer.raw_headers = [
            *answer.raw_headers,
            *(pair for pair in headers if pair[0] != b"content-length"),
        ]
        return answer

    @app.exception_handler(GatewayError)
    async def on_gateway_error(request: Request, error: GatewayError) -> Response:
        return response(request, error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return response(request, _from_validation(error.errors()))

    @app.exception_handler(Exception)
    async def on_fault(request: Request, error: Exception) -> Response:
        del error  # The dispatcher logs it.
        return response(request, internal_error())

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        return response(request, _from_status(request, error), error.headers)


def _from_status(request: Request, error: HTTPException) -> GatewayError:
    if error.status_code == _NOT_FOUND:
        return NotFound(f"There is nothing at {request.url.path}. GET /docs lists the paths.")
    if error.status_code == _METHOD_NOT_ALLOWED:
        return MethodNotAllowed(f"{request.url.path} does not take {request.method}.")
    made = BadRequest(str(error.detail))
    made.status = error.status_code
    return made


def _from_validation(faults: Sequence[Any]) -> GatewayError:
    """Return an error that names the first invalid field and counts the others; it never contains values."""
    fault = faults[0]
    where = [str(part) for part in fault["loc"] if part not in {"body", "query", "path"}]
    field = ".".join(where) or None
    if fault["type"] == "json_invalid":
        return BadRequest("The request body is not valid JSON.", code="invalid_json")
    if field is None:
        return Unprocessable("The request body must be a JSON object.", code="invalid_json")
    more = f" ({len(faults) - 1} more invalid fields)" if len(faults) > 1 else ""
    message = f"{field}: {fault['msg'].removeprefix('Value error, ')}{more}"
    return Unprocessable(message, param=field)
