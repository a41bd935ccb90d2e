"""Gets providers' access tokens by OAuth2 client credentials, and keeps them while they are good."""

from __future__ import annotations

import asyncio
import base64
from urllib.parse import quote_plus, urlencode

import msgspec

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.upstream import TransportError, Upstream
from llm_gateway.providers.base import UpstreamRequest

# Seconds that one request to a token endpoint may take, however long its callers are willing to wait.
_FLIGHT = 30.0
# Seconds for which a failure is told again before the endpoint is asked again.
_QUIET = 1.0
# A token without `expires_in` is taken to last this long.
_UNSAID_LIFE = 300.0
# A token is renewed in the background with this part of its life left, at most this many seconds before its
# end; and not used at all in the last moments, since the provider's clock is another one.
_RENEWED_AT, _RENEWED_AT_MOST = 0.2, 300.0
_UNUSED_AT, _UNUSED_AT_MOST = 0.05, 10.0
_REPLY_LIMIT = 256 * 1024
_LONGEST_TOKEN = 64 * 1024
# RFC 6749, 5.2: what may be repeated of a refusal. Descriptions may hold anything.
_ERRORS = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope",
    }
)  # fmt: skip

_Key = tuple[int, ClientCredentials, Secret]


class _Granted(msgspec.Struct):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - a type
    # Some servers write it in quotes.
    expires_in: float | str | None = None


class _Refused(msgspec.Struct):
    error: str = ""


class _Token(msgspec.Struct, frozen=True):
    """A token, and until when it is to be used and when to be renewed, by the monotonic clock."""

    secret: Secret
    renew_at: float
    good_until: float


_granted = msgspec.json.Decoder(_Granted, strict=False).decode
_refused = msgspec.json.Decoder(_Refused).decode


class _Account:
    """What is known of one provider's client: its token, its last failure, and the one flight for a new token."""

    __slots__ = ("failed_at", "fault", "flight", "in_body", "token")

    def __init__(self) -> None:
        self.token: _Token | None = None
        self.flight: asyncio.Task[_Token | TransportError] | None = None
        self.fault: TransportError | None = None
        self.failed_at = 0.0
        # The server takes the client's secret in the form, not as HTTP Basic.
        self.in_body = False


class OAuthTokens:
    """Implements AccessTokens: one request for a token at a time and provider, whoever waits for it.

    What is kept belongs to a provider's id, its grant and its secret together: a row that was changed is
    never served what the older one was given.
    """

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        """Ask over `upstream`."""
        self._upstream = upstream
        self._clock = clock
        self._accounts: dict[_Key, _Account] = {}

    async def token(
        self, provider_id: int, grant: ClientCredentials, secret: Secret, timeout: float
    ) -> Secret:
        """Return a token that is good for a while; raise TransportError, whose message names no secret or URL."""
        key = (provider_id, grant, secret)
        account = self._accounts.get(key) or self._open(key)
        now = self._clock.monotonic()
        token = account.token
        if token is not None and now < token.good_until:
            if now >= token.renew_at and not self._failed_just_now(account, now):
                self._fly(key, account)
            return token.secret
        if account.flight is None and account.fault is not None and self._failed_just_now(account, now):
            raise _again(account.fault)
        flight = self._fly(key, account)
        # Whoever stops waiting does not end the flight of the others.
        done, _ = await asyncio.wait({flight}, timeout=timeout)
        if not done:
            raise TransportError("timeout", "the token endpoint did not answer in time")
        got = flight.result()
        if isinstance(got, TransportError):
            raise _again(got)
        return got.secret

    def forget(self, provider_id: int, token: Secret) -> None:
        """Stop using a token that the provider refused; the next call gets another."""
        for (owner, _, _), account in self._accounts.items():
            if owner == provider_id and account.token is not None and account.token.secret == token:
                account.token = None

    async def close(self) -> None:
        """End what is on its way."""
        flights = [account.flight for account in self._accounts.values() if account.flight is not None]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _open(self, key: _Key) -> _Account:
        """Make an account; one that the same provider had under another grant or secret is over."""
        for other in [known for known in self._accounts if known[0] == key[0]]:
            if self._accounts[other].flight is None:
                del self._accounts[other]
        account = self._accounts[key] = _Account()
        return account

    def _failed_just_now(self, account: _Account, now: float) -> bool:
        return account.fault is not None and now - account.failed_at < _QUIET

    def _fly(self, key: _Key, account: _Account) -> asyncio.Task[_Token | TransportError]:
        if account.flight is None:
            account.flight = asyncio.ensure_future(self._fetch(key, account))
        return account.flight

    async def _fetch(self, key: _Key, account: _Account) -> _Token | TransportError:
        """Get a token and keep it; a fault is returned, for each of those who wait to raise one of its own."""
        _, grant, secret = key
        asked_at = self._clock.monotonic()
        try:
            token = await self._ask(grant, secret, account, asked_at)
        except TransportError as fault:
            account.fault, account.failed_at = fault, self._clock.monotonic()
            return fault
        else:
            account.token, account.fault = token, None
            return token
        finally:
            account.flight = None

    async def _ask(
        self, grant: ClientCredentials, secret: Secret, account: _Account, asked_at: float
    ) -> _Token:
        status, body = await self._post(grant, secret, in_body=account.in_body)
        if _is_invalid_client(status, body):
            # Servers must take HTTP Basic, and some take the form alone: the other way once, and then always.
            status, body = await self._post(grant, secret, in_body=not account.in_body)
            if 200 <= status < 300:
                account.in_body = not account.in_body
        if not 200 <= status < 300:
            raise TransportError("protocol", _refusal(status, body))
        return _read(body, asked_at)

    async def _post(self, grant: ClientCredentials, secret: Secret, *, in_body: bool) -> tuple[int, bytes]:
        deadline = self._clock.monotonic() + _FLIGHT
        try:
            reply = await self._upstream.send(_request(grant, secret, in_body=in_body), _FLIGHT)
            try:
                left = max(deadline - self._clock.monotonic(), 0.0)
                return reply.status, await reply.read_all(_REPLY_LIMIT, left)
            finally:
                reply.close()
        except TransportError as fault:
            raise TransportError(fault.kind, f"the token endpoint: {fault}") from None


def _request(grant: ClientCredentials, secret: Secret, *, in_body: bool) -> UpstreamRequest:
    form = {"grant_type": "client_credentials"}
    if grant.scope is not None:
        form["scope"] = grant.scope
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    headers |= {"user-agent": "llm-gateway", "accept-encoding": "identity"}
    if in_body:
        form |= {"client_id": grant.client_id, "client_secret": secret.reveal()}
    else:
        # RFC 6749, 2.3.1: each encoded as in a form, then both as HTTP Basic.
        pair = f"{quote_plus(grant.client_id)}:{quote_plus(secret.reveal())}"
        headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return UpstreamRequest(url=grant.token_url, headers=headers, body=urlencode(form).encode())


def _read(body: bytes, asked_at: float) -> _Token:
    try:
        granted = _granted(body)
        life = _UNSAID_LIFE if granted.expires_in is None else float(granted.expires_in)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise TransportError("protocol", "the token endpoint's answer holds no access token") from None
    token = granted.access_token
    if not (0 < len(token) <= _LONGEST_TOKEN and token.isascii() and token.isprintable()):
        raise TransportError("protocol", "the token endpoint's access token cannot be sent in a header")
    if not granted.token_type.lower().startswith("bearer"):
        raise TransportError("protocol", "the token endpoint gave a token that is no bearer token")
    # Not a number fails here too, and is an end that is over.
    life = life if life > 0 else 0.0
    return _Token(
        Secret(token),
        renew_at=asked_at + life - min(life * _RENEWED_AT, _RENEWED_AT_MOST),
        good_until=asked_at + life - min(life * _UNUSED_AT, _UNUSED_AT_MOST),
    )


def _error_of(body: bytes) -> str:
    try:
        return _refused(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _is_invalid_client(status: int, body: bytes) -> bool:
    return status == 401 or (400 <= status < 500 and _error_of(body) == "invalid_client")


def _refusal(status: int, body: bytes) -> str:
    error = _error_of(body)
    named = f" and {error}" if error in _ERRORS else ""
    return (
        f"the token endpoint refused with status {status}{named}: check the provider's token_url, client_id, "
        "scope and api_key (the client's secret)"
    )


def _again(fault: TransportError) -> TransportError:
    """Return a fault like another: one exception must not be raised in several tasks."""
    return TransportError(fault.kind, str(fault))
