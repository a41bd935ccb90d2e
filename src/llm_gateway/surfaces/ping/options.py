"""What the operator sets for dgen-ping's API, and what of it deserves a warning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from llm_gateway.core.errors import Unavailable
from llm_gateway.core.secret import Secret

# The user of requests that name none, and the project.
DEFAULT_USER: Final = "default_user"
DEFAULT_PROJECT: Final = "default_project"
# RFC 7518, 3.2: as long as the hash.
_SAFE_BYTES: Final = 32
# The one that dgen-ping itself had.
_WELL_KNOWN: Final = "dgen_secret_key"


class PingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of this API. Times are in seconds, `rate_limit` is requests per minute of each caller."""

    # TOKEN_SECRET as it was set; `signing_secret` is the one to use.
    token_secret: Secret | None = None
    # Whether well-known secrets are accepted.
    is_debug: bool = False
    token_lifetime: float = 86_400.0
    allow_default_token: bool = False
    rate_limit: int = 120
    default_model: str = "gpt-4"
    default_max_tokens: int = 2000
    default_temperature: float = 0.7
    # Attempts of a request in all.
    retry_attempts: int = 3
    llm_timeout: float = 60.0

    @property
    def signing_secret(self) -> Secret | None:
        """The secret of tokens; None if there is none that may be used."""
        return None if self._is_well_known and not self.is_debug else self.token_secret

    @property
    def _is_well_known(self) -> bool:
        return self.token_secret is not None and self.token_secret.reveal() == _WELL_KNOWN

    def no_secret(self) -> Unavailable:
        """Return the error for what needs TOKEN_SECRET while `signing_secret` is None."""
        reason = "is a value that everybody knows" if self._is_well_known else "is not set"
        message = (
            f"Tokens are not available, because TOKEN_SECRET {reason}. Ask the gateway administrator to set it, or "
            "send a credential of the gateway as X-API-Token."
        )
        error = Unavailable(message, code="token_secret_missing")
        error.waiting_helps = False
        return error

    def warnings(self) -> Iterator[str]:
        """Yield what an operator should know at the start."""
        if self.allow_default_token:
            yield (
                "ALLOW_DEFAULT_TOKEN is true: anyone who reaches the gateway can use its models at /api/llm as "
                f"{DEFAULT_USER}. Set it to false unless only trusted clients do."
            )
        secret = self.token_secret
        if secret is None:
            return
        if self._is_well_known:
            what = (
                "it is accepted, because DEBUG is true, and anyone can make valid tokens"
                if self.is_debug
                else "it is not used, and tokens are not available"
            )
            yield f"TOKEN_SECRET is a value that everybody knows: {what}. Set another one."
        elif (length := len(secret.reveal().encode())) < _SAFE_BYTES:
            yield (
                f"TOKEN_SECRET has {length} bytes. Whoever has a token can try to guess a secret of fewer than "
                f"{_SAFE_BYTES} bytes; `openssl rand -hex 32` makes a good one."
            )
