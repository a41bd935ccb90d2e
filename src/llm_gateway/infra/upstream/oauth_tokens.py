"""Obtains access tokens with OAuth2 client credentials, and caches them until they expire."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from urllib.parse import quote_plus, urlencode

import msgspec

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.upstream import AccessTokens, TransportError, Upstream
from llm_gateway.providers.base import UpstreamRequest

# Seconds that one request to a token endpoint may take, whatever timeouts its callers have.
_REQUEST_TIMEOUT = 30.0
# Seconds after a failure during which callers get the same error and no new request is sent.
_FAILURE_TTL = 1.0
# Lifetime in seconds of a token without `expires_in`.
_DEFAULT_LIFETIME = 300.0
# A token is renewed in the background when this share of its lifetime is left, but at most this many seconds
# before it expires.
_RENEWAL_SHARE, _LONGEST_RENEWAL = 0.2, 300.0
# A token is not used in the last part of its lifetime, because the provider's clock may differ.
_MARGIN_SHARE, _LONGEST_MARGIN = 0.05, 10.0
_REPLY_LIMIT = 256 * 1024
_LONGEST_TOKEN = 64 * 1024
# Secrets of each provider that are recognised in its messages.
_REMEMBERED_SECRETS = 16
# The error codes of RFC 6749, 5.2, which are safe to repeat. Descriptions may contain secrets.
_ERRORS = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope",
    }
)  # fmt: skip

_Key = tuple[int, ClientCredentials, Secret]


class _Grant(msgspec.Struct):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - a type
    # In seconds; some servers send a string.
    expires_in: float | str | None = None


class _ErrorReply(msgspec.Struct):
    error: str = ""


class _Token(msgspec.Struct, frozen=True):
    """A token, with the times from which it is renewed and no longer used, in seconds of the monotonic clock."""

    secret: Secret
    renew_at: float
    usable_until: float


_decode_grant = msgspec.json.Decoder(_Grant, strict=False).decode
_decode_error = msgspec.json.Decoder(_ErrorReply).decode


class _Account:
    """The state of one provider's client: its token, its last failure, and the pending request for a new token."""

    __slots__ = ("error", "failed_at", "in_body", "pending", "token")

    def __init__(self) -> None:
        self.token: _Token | None = None
        self.pending: asyncio.Task[_Token | TransportError] | None = None
        self.error: TransportError | None = None
        self.failed_at = 0.0
        # The server accepts the client's secret only in the form, not with HTTP Basic.
        self.in_body = False


class OAuthTokens(AccessTokens):
    """Obtains access tokens with at most one pending request per provider, which all callers share.

    Tokens are cached by provider id, grant and secret together, so that a provider whose settings changed
    never gets a token of its old settings.
    """

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock
        self._accounts: dict[_Key, _Account] = {}
        # By provider id, the oldest first.
        self._secrets: dict[int, deque[Secret]] = {}

    async def token(
        self, provider_id: int, grant: ClientCredentials, secret: Secret, timeout: float
    ) -> Secret:
        key = (provider_id, grant, secret)
        account = self._accounts.get(key) or self._add_account(key)
        now = self._clock.monotonic()
        token = account.token
        if token is not None and now < token.usable_until:
            if now >= token.renew_at and not self._failed_recently(account, now):
                self._request_token(key, account)
            return token.secret
        if account.pending is None and account.error is not None and self._failed_recently(account, now):
            raise _copy_of(account.error)
        request = self._request_token(key, account)
        # A caller that times out or is cancelled does not cancel the request that others wait for.
        done, _ = await asyncio.wait({request}, timeout=timeout)
        if not done:
            raise TransportError("timeout", "the token endpoint did not reply in time")
        result = request.result()
        if isinstance(result, TransportError):
            raise _copy_of(result)
        return result.secret

    def secrets(self, provider_id: int) -> tuple[Secret, ...]:
        clients = (secret for owner, _, secret in self._accounts if owner == provider_id)
        return (*clients, *self._secrets.get(provider_id, ()))

    def forget(self, provider_id: int, token: Secret) -> None:
        for (owner, _, _), account in self._accounts.items():
            if owner == provider_id and account.token is not None and account.token.secret == token:
                account.token = None

    async def close(self) -> None:
        """Cancel all pending requests."""
        requests = [account.pending for account in self._accounts.values() if account.pending is not None]
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

    def _add_account(self, key: _Key) -> _Account:
        """Add an account; remove those of the same provider's old settings, unless a request is pending."""
        for other in [known for known in self._accounts if known[0] == key[0]]:
            if self._accounts[other].pending is None:
                del self._accounts[other]
        account = self._accounts[key] = _Account()
        self._remember(key, key[2])
        return account

    def _remember(self, key: _Key, secret: Secret) -> None:
        known = self._secrets.setdefault(key[0], deque(maxlen=_REMEMBERED_SECRETS))
        if secret not in known:
            known.append(secret)

    def _failed_recently(self, account: _Account, now: float) -> bool:
        return account.error is not None and now - account.failed_at < _FAILURE_TTL

    def _request_token(self, key: _Key, account: _Account) -> asyncio.Task[_Token | TransportError]:
        if account.pending is None:
            account.pending = asyncio.ensure_future(self._fetch(key, account))
        return account.pending

    async def _fetch(self, key: _Key, account: _Account) -> _Token | TransportError:
        """Request a token and cache it.

        An error is returned, not raised, so that each waiting caller can raise a copy.
        """
        _, grant, secret = key
        requested_at = self._clock.monotonic()
        try:
            token = await self._fetch_by_either_method(grant, secret, account, requested_at)
        except TransportError as error:
            account.error, account.failed_at = error, self._clock.monotonic()
            return error
        else:
            account.token, account.error = token, None
            self._remember(key, token.secret)
            return token
        finally:
            account.pending = None

    async def _fetch_by_either_method(
        self, grant: ClientCredentials, secret: Secret, account: _Account, requested_at: float
    ) -> _Token:
        status, body = await self._post(grant, secret, in_body=account.in_body)
        if _is_invalid_client(status, body):
            # RFC 6749 requires HTTP Basic, but some servers accept only the form. Try the other way once, and
            # remember it if it works.
            status, body = await self._post(grant, secret, in_body=not account.in_body)
            if 200 <= status < 300:
                account.in_body = not account.in_body
        if not 200 <= status < 300:
            raise TransportError("protocol", _rejection_message(status, body))
        return _token_from(body, requested_at)

    async def _post(self, grant: ClientCredentials, secret: Secret, *, in_body: bool) -> tuple[int, bytes]:
        deadline = self._clock.monotonic() + _REQUEST_TIMEOUT
        try:
            reply = await self._upstream.send(_request(grant, secret, in_body=in_body), _REQUEST_TIMEOUT)
            try:
                left = max(deadline - self._clock.monotonic(), 0.0)
                return reply.status, await reply.read_all(_REPLY_LIMIT, left)
            finally:
                reply.close()
        except TransportError as error:
            raise TransportError(error.kind, f"the token endpoint: {error}") from None


def _request(grant: ClientCredentials, secret: Secret, *, in_body: bool) -> UpstreamRequest:
    form = {"grant_type": "client_credentials"}
    if grant.scope is not None:
        form["scope"] = grant.scope
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    headers |= {"user-agent": "llm-gateway", "accept-encoding": "identity"}
    if in_body:
        form |= {"client_id": grant.client_id, "client_secret": secret.reveal()}
    else:
        # RFC 6749, 2.3.1: form-encode each value, then use both for HTTP Basic.
        pair = f"{quote_plus(grant.client_id)}:{quote_plus(secret.reveal())}"
        headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return UpstreamRequest(url=grant.token_url, headers=headers, body=urlencode(form).encode())


def _token_from(body: bytes, requested_at: float) -> _Token:
    try:
        granted = _decode_grant(body)
        lifetime = _DEFAULT_LIFETIME if granted.expires_in is None else float(granted.expires_in)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise TransportError("protocol", "the token endpoint's reply contains no access token") from None
    token = granted.access_token
    if not (0 < len(token) <= _LONGEST_TOKEN and token.isascii() and token.isprintable()):
        raise TransportError("protocol", "the token endpoint's access token cannot be sent in a header")
    if not granted.token_type.lower().startswith("bearer"):
        raise TransportError("protocol", "the token endpoint returned a token that is not a bearer token")
    # NaN fails this comparison too, and counts as expired.
    lifetime = lifetime if lifetime > 0 else 0.0
    return _Token(
        Secret(token),
        renew_at=requested_at + lifetime - min(lifetime * _RENEWAL_SHARE, _LONGEST_RENEWAL),
        usable_until=requested_at + lifetime - min(lifetime * _MARGIN_SHARE, _LONGEST_MARGIN),
    )


def _error_of(body: bytes) -> str:
    try:
        return _decode_error(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _is_invalid_client(status: int, body: bytes) -> bool:
    return status == 401 or (400 <= status < 500 and _error_of(body) == "invalid_client")


def _rejection_message(status: int, body: bytes) -> str:
    error = _error_of(body)
    named = f" and {error}" if error in _ERRORS else ""
    return (
        f"the token endpoint refused with status {status}{named}: check the provider's token_url, client_id, "
        "scope and api_key (the client's secret)"
    )


def _copy_of(error: TransportError) -> TransportError:
    """Return a copy of an error: several tasks must not raise the same exception object."""
    return TransportError(error.kind, str(error))
