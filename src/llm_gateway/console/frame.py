"""The frame around every page: a session, the origin of forms, security headers, and errors as pages."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llm_gateway.console.links import SIGN_IN, Links
from llm_gateway.console.rendering import page
from llm_gateway.console.security import HEADERS, SAFE_METHODS, check_same_origin, session_token
from llm_gateway.console.services import ConsoleServices, services_of, with_services, with_session
from llm_gateway.core.errors import (
    BadRequest,
    BodyTimedOut,
    BodyTooLarge,
    Forbidden,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    Unauthenticated,
    internal_error,
)
from llm_gateway.http.errors import as_gateway_error
from llm_gateway.http.types import AsgiApp, Message, Receive, Scope, Send, request_id_of

_ASSETS = "/console/assets/"
# What viewers may send although they change nothing else.
_VIEWERS_MAY_SEND = frozenset({SIGN_IN, "/console/sign-out"})


class Frame:
    """Admits requests to the pages, and finishes their responses."""

    def __init__(self, app: AsgiApp, services: ConsoleServices) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette must not look for the prefix, which the path no longer has; `app` makes it raise its errors.
        root = str(scope.get("root_path", ""))
        scope = {**scope, "root_path": "", "app": self}
        request = Request(scope, receive)
        with_services(request, self._services, root)
        framed = _FramedSend(send)
        try:
            refused = await self._admit(request)
            await (self._app if refused is None else refused)(scope, receive, framed)
        except (GatewayError, HTTPException) as error:
            if framed.begun:
                raise
            await _error_page(request, _as_error(request, error))(scope, receive, framed)
        except Exception as error:
            if framed.begun:
                raise
            as_gateway_error(error, request_id_of(scope))
            await _error_page(request, internal_error())(scope, receive, framed)

    async def _admit(self, request: Request) -> Response | None:
        """Return the response for a request without access; raise Forbidden."""
        path, is_safe = request.scope["path"], request.method in SAFE_METHODS
        if not is_safe:
            check_same_origin(request)
        elif path.startswith(_ASSETS):
            # Without a look into the database: the page that says that it is away has styles too.
            return None
        token = session_token(request)
        session = None if token is None else await services_of(request).sessions.find(token.reveal())
        if session is not None:
            with_session(request, session)
            if session.role == "viewer" and not is_safe and path not in _VIEWERS_MAY_SEND:
                raise Forbidden(
                    "The viewer key cannot change anything. Sign in with the admin key to make changes."
                )
            return None
        if path == SIGN_IN:
            return None
        if not is_safe or request.headers.get("sec-fetch-dest") == "empty":
            raise Unauthenticated("Your session has ended. Sign in again.", code="signed_out")
        query = request.scope.get("query_string", b"").decode("latin-1")
        target = None if path in {"/", "/console", "/console/"} else f"{path}?{query}" if query else path
        response = Response(status_code=303)
        response.headers["location"] = Links(request).url(SIGN_IN, next=target)
        return response


class _FramedSend:
    """ASGI's `send` with the security headers; pages are not stored by browsers or proxies."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = list(message.get("headers", ()))
            names = {name for name, _ in headers}
            headers += [pair for pair in HEADERS.items() if pair[0] not in names]
            if b"cache-control" not in names:
                headers.append((b"cache-control", b"no-store"))
            message["headers"] = headers
        await self._send(message)


def _as_error(request: Request, error: GatewayError | HTTPException) -> GatewayError:
    if isinstance(error, GatewayError):
        return error
    path = request.scope["path"][:200]
    if error.status_code == NotFound.status:
        return NotFound(f"There is no page at {path}.")
    if error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed(f"{path} does not take {request.method}.")
    return BadRequest(str(error.detail))


def _error_page(request: Request, error: GatewayError) -> Response:
    headers = {} if error.retry_after is None else {"retry-after": str(max(int(error.retry_after), 1))}
    if isinstance(error, (BodyTooLarge, BodyTimedOut)):
        # The unread rest of the body would be parsed as the next request.
        headers["connection"] = "close"
    if request.headers.get("sec-fetch-dest") == "empty":
        body = {"error": {"message": error.message, "code": error.code}}
        return JSONResponse(body, error.status, headers)
    request_id = request_id_of(request.scope)
    return page(
        request, "error.html", status=error.status, headers=headers, error=error, request_id=request_id
    )
