"""Who calls dgen-ping's API: the user of a token, the default user, or a credential of the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from llm_gateway.core.config.accounts import PING_ACCOUNT, Principal
from llm_gateway.core.config.limits import Limits
from llm_gateway.core.errors import GatewayError, Unauthenticated
from llm_gateway.flow.accounting.use_limit import AccountsOf, LimitedAccount
from llm_gateway.flow.ports.catalog import KeyHasher
from llm_gateway.flow.ports.dialect import Attribution, PresentedKey, RefusedKey, VouchedCaller
from llm_gateway.surfaces.ping.options import DEFAULT_USER, PingOptions
from llm_gateway.surfaces.ping.tokens import TokenClaims, TokenSigner, looks_like_token

TOKEN_HEADER: Final = b"x-api-token"
# Stands for the default user.
DEFAULT_TOKEN: Final = "1"  # noqa: S105 - a documented value, and no secret


class NamedCaller(VouchedCaller):
    """A user whom this surface knows by name."""

    __slots__ = ("_subject",)

    def __init__(self, subject: str) -> None:
        super().__init__(PING_ACCOUNT.key_hash)
        self._subject = subject

    @property
    def subject(self) -> str:
        """The user's name."""
        return self._subject


class TokenCaller(NamedCaller):
    """The user of a token, whose signature is checked once, and its times at every request."""

    __slots__ = ("_claims", "_signer", "_token")

    def __init__(self, token: str, signer: TokenSigner) -> None:
        super().__init__("")
        self._token = token
        self._signer = signer
        self._claims: TokenClaims | None = None

    def digest(self, hasher: KeyHasher) -> bytes:
        """Return the `key_hash` of the surface's account; raise Unauthenticated for a token that is not valid."""
        claims = self._claims
        if claims is None:
            claims = self._claims = self._signer.claims(self._token)
        self._signer.check_times(claims)
        return super().digest(hasher)

    @property
    def subject(self) -> str:
        """The user's name; known once the token has been checked."""
        return "" if self._claims is None else self._claims.sub


class CallerReader:
    """Reads X-API-Token, or the lack of it."""

    def __init__(self, options: PingOptions, signer: TokenSigner | None) -> None:
        """Without `signer` there are no tokens, and credentials of the gateway alone are accepted."""
        self._options = options
        self._signer = signer
        self._default: PresentedKey = (
            NamedCaller(DEFAULT_USER) if options.allow_default_token else RefusedKey(self._no_default)
        )

    def identify(self, headers: Mapping[bytes, bytes]) -> PresentedKey:
        """Return who calls. Names in `headers` are in lower case."""
        value = headers.get(TOKEN_HEADER)
        if value is None:
            return self._default
        text = value.strip().decode("utf-8", "replace")
        if text == DEFAULT_TOKEN:
            return self._default
        if not text:
            return RefusedKey(_empty)
        if not looks_like_token(text):
            return PresentedKey(text)
        if self._signer is None:
            return RefusedKey(self._options.no_secret)
        return TokenCaller(text, self._signer)

    def _no_default(self) -> GatewayError:
        if self._signer is None:
            return self._options.no_secret()
        message = (
            "X-API-Token is missing, or is the default token, which this gateway does not accept "
            "(ALLOW_DEFAULT_TOKEN). Send a token of POST /generate-token, or a credential of the gateway."
        )
        return Unauthenticated(message)


def _empty() -> GatewayError:
    message = "X-API-Token is empty. Send a token of POST /generate-token, or a credential of the gateway."
    return Unauthenticated(message)


def subject_of(key: PresentedKey | None) -> str | None:
    """Return the user whom a token names, None for a credential. The key must have been accepted."""
    return key.subject if isinstance(key, NamedCaller) else None


def limits_per_caller(scope: str, per_minute: int) -> AccountsOf:
    """Return the limit of requests per minute of each user of a token, and of each credential.

    Limits with different `scope` count apart.
    """
    limits = Limits(requests_per_minute=per_minute)

    def accounts_of(account: Principal, attribution: Attribution) -> Sequence[LimitedAccount]:
        credential = account.credential
        if credential.key_hash == PING_ACCOUNT.key_hash:
            return (LimitedAccount("user", f"{scope}/{attribution.user}", limits),)
        return (LimitedAccount("credential", f"{scope}/{credential.id}", limits),)

    return accounts_of
