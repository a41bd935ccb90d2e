"""Signing in and out, and the sessions that are open."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_gateway.console.forms.reading import read_form
from llm_gateway.console.links import SIGN_IN, Links, safe_target, see_other
from llm_gateway.console.rendering import page
from llm_gateway.console.security import delete_session_cookie, session_token, set_session_cookie
from llm_gateway.console.services import services_of, session_of
from llm_gateway.core.errors import NotFound, RateLimited, Unauthenticated

_SESSIONS = "/console/sessions"
# Bytes of a form that nobody needs a session for.
_LARGEST_FORM = 16 * 1024
# What a query holds besides letters and digits, escapes among it.
_OF_QUERIES = "%/?:@!$&'()*+,;=-._~"


async def show_sign_in(request: Request) -> Response:
    """Show the form, or go on if the browser is signed in."""
    target = safe_target(request.query_params.get("next"))
    if session_of(request) is not None:
        return see_other(request, target)
    return page(request, "sign_in.html", problem=None, target=target)


async def sign_in(request: Request) -> Response:
    """Exchange the key for a session."""
    form = await read_form(request, most_bytes=_LARGEST_FORM)
    target = safe_target(form.get("next"))
    services = services_of(request)
    address = services.proxies.client_ip(request.scope)
    try:
        signed_in = await services.sessions.sign_in(form.get("key", ""), address)
    except (Unauthenticated, RateLimited) as error:
        headers = {} if error.retry_after is None else {"retry-after": f"{error.retry_after:.0f}"}
        return page(
            request,
            "sign_in.html",
            status=error.status,
            headers=headers,
            problem=error.message,
            target=target,
        )
    path, _, query = target.partition("?")
    response = see_other(request, path)
    if query:
        response.headers["location"] += f"?{quote(query, safe=_OF_QUERIES)}"
    if (former := session_token(request)) is not None:
        # The browser forgets this one now.
        await services.sessions.sign_out(former.reveal())
    session = signed_in.session
    seconds = (session.expires_at - session.created_at) // 1_000_000
    set_session_cookie(request, response, signed_in.token, seconds)
    return response


async def sign_out(request: Request) -> Response:
    """End the session of this browser."""
    if (token := session_token(request)) is not None:
        await services_of(request).sessions.sign_out(token.reveal())
    response = see_other(request, SIGN_IN)
    delete_session_cookie(request, response)
    return response


async def list_sessions(request: Request) -> Response:
    """Show who is signed in."""
    sessions = await services_of(request).sessions.active()
    return page(request, "sessions.html", sessions=sessions, done=request.query_params.get("done"))


async def revoke(request: Request) -> Response:
    """End one session."""
    if not await services_of(request).sessions.revoke(request.path_params["id"]):
        raise NotFound("This session has ended already.")
    return see_other(request, _SESSIONS, done="revoked")


async def revoke_others(request: Request) -> Response:
    """End all sessions but that of this browser."""
    sessions, own = services_of(request).sessions, session_of(request)
    for one in await sessions.active():
        if own is None or one.id != own.id:
            await sessions.revoke(one.id)
    return see_other(request, _SESSIONS, done="revoked_others")


async def go_home(request: Request) -> Response:
    """Lead from `/` to the console."""
    response = Response(status_code=307)
    response.headers["location"] = Links(request).url("/console")
    return response


ROUTES = [
    Route("/", go_home, methods=["GET"]),
    Route(SIGN_IN, show_sign_in, methods=["GET"]),
    Route(SIGN_IN, sign_in, methods=["POST"]),
    Route("/console/sign-out", sign_out, methods=["POST"]),
    Route(_SESSIONS, list_sessions, methods=["GET"]),
    Route(f"{_SESSIONS}/revoke-others", revoke_others, methods=["POST"]),
    Route(f"{_SESSIONS}/{{id}}/revoke", revoke, methods=["POST"]),
]
