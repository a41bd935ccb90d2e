"""What protects pages in a browser: headers, the cookie of a session, and the check where a form came from."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from llm_gateway.console.services import services_of
from llm_gateway.core.errors import Forbidden
from llm_gateway.core.secret import Secret

HEADERS: Final = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_COOKIE = "llm-gateway-session"
# The prefix makes browsers refuse the cookie unless it is Secure, for this host alone, and for all paths.
_SECURE_COOKIE = "__Host-llm-gateway-session"
_LONGEST_TOKEN = 200


def check_same_origin(request: Request) -> None:
    """Raise Forbidden unless a page of this gateway sent the request.

    Browsers send Sec-Fetch-Site over TLS and to this machine; otherwise Origin says it.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site == "same-origin":
            return
    elif (origin := request.headers.get("origin")) is not None:
        host = request.headers.get("host", "")
        if host and origin.partition("://")[2].lower() == host.lower():
            return
    raise Forbidden(
        "This form was not sent by a page of this gateway. Open the page in this browser and send it again. Behind a "
        "proxy: pass the Host header on unchanged.",
        code="cross_origin",
    )


def is_secure(request: Request) -> bool:
    """Tell whether the browser speaks TLS, to this gateway or to a trusted proxy in front of it."""
    if request.scope.get("scheme") == "https":
        return True
    return services_of(request).proxies.forwarded_proto(request.scope) == "https"


def session_token(request: Request) -> Secret | None:
    """Return the token in the session's cookie; None if there are several, since another host may have set one.

    Names are compared as they are: browsers guard the prefix of the secure one in just this spelling, so that a host
    beside this one can set a cookie whose name only differs by, say, a no-break space.
    """
    wanted = _SECURE_COOKIE if is_secure(request) else _COOKIE
    found = set()
    for header in request.headers.getlist("cookie"):
        for cookie in header.split(";"):
            name, _, text = cookie.strip(" \t").partition("=")
            if name == wanted:
                found.add(text)
    text = found.pop() if len(found) == 1 else ""
    return None if not text or len(text) > _LONGEST_TOKEN else Secret(text)


def set_session_cookie(request: Request, response: Response, token: Secret, seconds: int) -> None:
    """Send the token of a new session."""
    secure = is_secure(request)
    response.set_cookie(
        _SECURE_COOKIE if secure else _COOKIE,
        token.reveal(),
        max_age=seconds,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def delete_session_cookie(request: Request, response: Response) -> None:
    """Make the browser forget the token."""
    secure = is_secure(request)
    response.delete_cookie(
        _SECURE_COOKIE if secure else _COOKIE, path="/", secure=secure, httponly=True, samesite="strict"
    )
