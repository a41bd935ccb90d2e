"""Ids of stored responses as clients see them: bound to the credential and to the provider that has the response."""

from __future__ import annotations

import hmac
import re

from llm_gateway.flow.ports.catalog import KeyHasher

# 128 bits of the keyed hash, as hexadecimal digits.
_MAC_DIGITS = 32
_BOUND = re.compile(rf"(?s:(.+))-([1-9][0-9]{{0,18}}|0)-([0-9a-f]{{{_MAC_DIGITS}}})")
# A longer id is not bound, so that no request can refer to it.
_LONGEST = 512


class ResponseIds:
    """Binds response ids: `resp_1` becomes `resp_1-<provider id>-<MAC>`, always the same for the same credential.

    The MAC's key is stored in the database, so that ids are valid in all workers and replicas and after restarts.
    """

    def __init__(self, hasher: KeyHasher) -> None:
        self._hash = hasher.hash

    def bind(self, response_id: str, credential_id: int, provider_id: int) -> str:
        """Return the id for a client; `provider_id` 0 stands for a response that no provider has stored."""
        if not response_id or len(response_id) > _LONGEST:
            return response_id
        return f"{response_id}-{provider_id}-{self._mac(response_id, credential_id, provider_id)}"

    def open(self, bound_id: str, credential_id: int) -> tuple[str, int] | None:
        """Return the provider's own id and the provider; None unless `bind` returned this id for the credential."""
        if len(bound_id) > 2 * _LONGEST or (found := _BOUND.fullmatch(bound_id)) is None:
            return None
        response_id, provider_id = found[1], int(found[2])
        expected = self._mac(response_id, credential_id, provider_id)
        return (response_id, provider_id) if hmac.compare_digest(found[3], expected) else None

    def _mac(self, response_id: str, credential_id: int, provider_id: int) -> str:
        # No client key contains NUL, so that this is never the hash of one.
        text = f"response id\0{credential_id}\0{provider_id}\0{response_id}"
        return self._hash(text).hex()[:_MAC_DIGITS]
