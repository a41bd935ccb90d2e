"""The client's headers that are sent to providers, and what is done to them first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import PresentedKey
from llm_gateway.flow.request.admission import credential_id_of

_IDEMPOTENCY_KEY: Final = "idempotency-key"
# The only client headers that are sent to a provider (C41): those of a trace, the choice of a beta version of the
# API, and the key of a repeatable request.
FORWARDED: Final = frozenset({b"traceparent", b"tracestate", b"openai-beta", _IDEMPOTENCY_KEY.encode()})


def scoped(headers: Mapping[str, str], gateway: Gateway, api_key: PresentedKey | None) -> Mapping[str, str]:
    """Return the headers to forward; an Idempotency-Key is replaced by a hash of it and of the credential.

    A provider answers a repeated key with its first answer, and all credentials share the provider's account. The
    hash is the same in all workers and replicas and after restarts. Without a valid credential there is no key.
    """
    if _IDEMPOTENCY_KEY not in headers:
        return headers
    others = {name: value for name, value in headers.items() if name != _IDEMPOTENCY_KEY}
    key = headers[_IDEMPOTENCY_KEY].strip()
    credential_id = credential_id_of(gateway, api_key)
    if not key or credential_id is None:
        return others
    # No client key contains NUL, so that this is never the hash of one.
    digest = gateway.hasher.hash(f"idempotency key\0{credential_id}\0{key}")
    return {**others, _IDEMPOTENCY_KEY: digest.hex()}
