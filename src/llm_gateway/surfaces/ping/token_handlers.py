"""Makes and verifies tokens for those who know TOKEN_SECRET: POST /generate-token and POST /verify-token."""

from __future__ import annotations

import hmac
from typing import Any, Final

import msgspec

from llm_gateway.core.errors import BadRequest, GatewayError, Unauthenticated
from llm_gateway.core.times import iso_milliseconds
from llm_gateway.http.model_routes.data_plane import DataPlane, Handler
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.model_routes.responding import send_json
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.ping.callers import DEFAULT_TOKEN
from llm_gateway.surfaces.ping.dialect import PingDialect
from llm_gateway.surfaces.ping.options import DEFAULT_USER, PingOptions
from llm_gateway.surfaces.ping.requests import checked_name
from llm_gateway.surfaces.ping.small_bodies import read_small_body
from llm_gateway.surfaces.ping.tokens import TokenSigner
from llm_gateway.surfaces.translating.bodies import read_body

SECRET_HEADER: Final = b"x-token-secret"
_MOST_BYTES: Final = 16 * 1024


class _Wanted(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    soeid: str | None = None


class _Shown(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    token: str


_wanted: Final = msgspec.json.Decoder(_Wanted)
_shown: Final = msgspec.json.Decoder(_Shown)


def generate_handler(
    plane: DataPlane, dialect: PingDialect, options: PingOptions, signer: TokenSigner | None
) -> Handler:
    """Return the handler of POST /generate-token: `{"soeid"}` in, `{"token", "soeid", "timestamp"}` out."""

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        usable = _signer_for(scope, options, signer)
        context = RequestContext(scope, dialect, plane.proxies)
        wanted = await read_small_body(
            plane,
            scope,
            receive,
            context,
            _MOST_BYTES,
            lambda body: read_body(body, _wanted, _Wanted.__struct_fields__),
        )
        soeid = checked_name("soeid", wanted.soeid) or DEFAULT_USER
        await _answer(plane, send, request_id, {"token": usable.sign(soeid), "soeid": soeid})

    return handler


def verify_handler(
    plane: DataPlane, dialect: PingDialect, options: PingOptions, signer: TokenSigner | None
) -> Handler:
    """Return the handler of POST /verify-token: `{"token"}` in, `{"valid", "data": {"soeid"}, "timestamp"}` out.

    Of a token that is not valid `data` is empty, and `detail` says why.
    """

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        usable = _signer_for(scope, options, signer)
        context = RequestContext(scope, dialect, plane.proxies)
        shown = await read_small_body(
            plane,
            scope,
            receive,
            context,
            _MOST_BYTES,
            lambda body: read_body(body, _shown, _Shown.__struct_fields__),
        )
        try:
            data = {"soeid": _subject(shown.token.strip(), options, usable)}
        except GatewayError as error:
            fields: dict[str, Any] = {"valid": False, "data": {}, "detail": error.message}
        else:
            fields = {"valid": True, "data": data}
        await _answer(plane, send, request_id, fields)

    return handler


def _subject(token: str, options: PingOptions, signer: TokenSigner) -> str:
    if token == DEFAULT_TOKEN:
        if options.allow_default_token:
            return DEFAULT_USER
        raise Unauthenticated("The default token is not accepted here (ALLOW_DEFAULT_TOKEN).")
    claims = signer.claims(token)
    signer.check_times(claims)
    return claims.sub


def _signer_for(scope: Scope, options: PingOptions, signer: TokenSigner | None) -> TokenSigner:
    """Return the signer if the request has the secret; raise GatewayError otherwise."""
    secret = options.signing_secret
    if signer is None or secret is None:
        raise options.no_secret()
    given = {value.strip() for name, value in scope["headers"] if name == SECRET_HEADER}
    if len(given) > 1:
        message = "Several different x-token-secret headers were sent; send one."
        raise BadRequest(message, code="ambiguous_api_key")
    if not given:
        message = "X-Token-Secret is missing. Send the secret that the gateway has as TOKEN_SECRET."
        raise Unauthenticated(message, code="invalid_token_secret")
    if not hmac.compare_digest(given.pop(), secret.reveal().encode()):
        message = "X-Token-Secret is wrong. Send the secret that the gateway has as TOKEN_SECRET."
        raise Unauthenticated(message, code="invalid_token_secret")
    return signer


async def _answer(plane: DataPlane, send: Send, request_id: str, fields: dict[str, Any]) -> None:
    timestamp = iso_milliseconds(plane.gateway.clock.unix_us())
    await send_json(send, msgspec.json.encode({**fields, "timestamp": timestamp}), request_id)
