"""The tokens of dgen-ping's users: JWTs with HS256, made and checked with PyJWT."""

from __future__ import annotations

import base64
import functools
import re
from typing import TYPE_CHECKING, Final

import msgspec

from llm_gateway.core.errors import Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.clock import Clock

if TYPE_CHECKING:
    from jwt import PyJWS

_ALGORITHM: Final = "HS256"
# Seconds by which clocks may differ.
_LEEWAY: Final = 60.0
# Characters; a token of this gateway has about 200.
_LONGEST: Final = 4096
LONGEST_SUBJECT: Final = 256
_PART: Final = re.compile(r"[A-Za-z0-9_-]*={0,2}")
_SECOND: Final = 1_000_000


class TokenClaims(msgspec.Struct, frozen=True, gc=False):
    """What a token says. Times are Unix seconds."""

    sub: str
    exp: float
    nbf: float | None = None
    iat: float | None = None
    aud: str | list[str] | None = None


class _Header(msgspec.Struct, gc=False):
    alg: object


_claims = msgspec.json.Decoder(TokenClaims).decode
_header = msgspec.json.Decoder(_Header).decode


def looks_like_token(text: str) -> bool:
    """Tell whether `text` has the shape of a JWT: three parts, of which the first is a header with an `alg`."""
    parts = text.split(".", 3)
    if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
        return False
    header = parts[0].rstrip("=")
    try:
        _header(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, RecursionError):
        return False
    return True


class TokenSigner:
    """Makes and checks the tokens of one secret."""

    def __init__(self, secret: Secret, lifetime: float, clock: Clock) -> None:
        """Tokens are valid for `lifetime` seconds."""
        self._secret = secret
        self._lifetime = lifetime
        self._clock = clock
        # At the start, so that no request waits for the import.
        self._signatures = _signatures()

    def sign(self, subject: str) -> str:
        """Return a token for `subject`."""
        now = self._clock.unix_us() // _SECOND
        claims = {"sub": subject, "iat": now, "exp": now + max(round(self._lifetime), 1)}
        return self._signatures.encode(
            msgspec.json.encode(claims), self._secret.reveal(), _ALGORITHM, sort_headers=False
        )

    def claims(self, token: str) -> TokenClaims:
        """Return what a token says, if its signature is valid; raise Unauthenticated otherwise."""
        if len(token) > _LONGEST:
            raise _invalid(f"it has more than {_LONGEST} characters")
        from jwt.exceptions import InvalidAlgorithmError, PyJWTError  # noqa: PLC0415

        try:
            signed = self._signatures.decode_complete(token, self._secret.reveal(), algorithms=[_ALGORITHM])
        except InvalidAlgorithmError:
            raise _invalid(f"its algorithm is not {_ALGORITHM}") from None
        except (PyJWTError, UnicodeEncodeError):
            # JSON may hold half of a surrogate pair, which no bytes stand for.
            raise _invalid("its signature is wrong") from None
        try:
            claims = _claims(signed["payload"])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _invalid("it must have the claims sub (a text) and exp (Unix seconds)") from None
        if not 0 < len(claims.sub) <= LONGEST_SUBJECT or not claims.sub.isprintable():
            raise _invalid(f"its claim sub must have 1 to {LONGEST_SUBJECT} printable characters")
        if claims.aud:
            raise _invalid("it is for another service: it has the claim aud")
        return claims

    def check_times(self, claims: TokenClaims) -> None:
        """Raise Unauthenticated if the token is not valid at this moment."""
        now = self._clock.unix_us() / _SECOND
        if claims.exp <= now - _LEEWAY:
            message = "The token in X-API-Token has expired. Get another one from POST /generate-token."
            raise Unauthenticated(message, code="expired_token")
        if max(claims.nbf or 0.0, claims.iat or 0.0) > now + _LEEWAY:
            raise _invalid("it is not valid yet")


def _invalid(reason: str) -> Unauthenticated:
    message = f"The token in X-API-Token is not valid: {reason}. Get another one from POST /generate-token."
    return Unauthenticated(message, code="invalid_token")


@functools.cache
def _signatures() -> PyJWS:
    """Return PyJWT's signatures with HS256 and nothing else. Imported here: most gateways have no tokens."""
    from jwt import PyJWS  # noqa: PLC0415
    from jwt.algorithms import HMACAlgorithm  # noqa: PLC0415

    class _Hmac(HMACAlgorithm):
        """Takes any secret: no other algorithm exists that it could be a key of; the start warns of short ones."""

        def prepare_key(self, key: str | bytes) -> bytes:
            return key.encode() if isinstance(key, str) else key

        def check_key_length(self, key: bytes) -> None:
            del key

    signatures = PyJWS(algorithms=[])
    signatures.register_algorithm(_ALGORITHM, _Hmac(HMACAlgorithm.SHA256))
    return signatures
