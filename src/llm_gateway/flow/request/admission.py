"""Admits requests: checks the gateway's state, the API key, and access to the model."""

from __future__ import annotations

from typing import Final

from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.snapshot import Principal, Snapshot
from llm_gateway.core.errors import Forbidden, Unauthenticated, Unavailable
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import PresentedKey

ANONYMOUS: Final = Principal(Credential(id=0, name="anonymous", key_hash=b""))


def current_snapshot(gateway: Gateway, *, admitted: bool) -> Snapshot:
    """Return the configuration for this request; raise Unavailable when the gateway takes no requests."""
    if gateway.lifecycle.draining:
        message = "The gateway is shutting down; send the request again."
        raise Unavailable(message, code="draining", retry_after=1)
    if not admitted:
        message = (
            "The gateway has reached its limit of concurrent requests (MAX_CONCURRENCY); try again shortly."
        )
        raise Unavailable(message, code="overloaded", retry_after=1)
    snapshot = gateway.snapshots.current
    if snapshot is None:
        message = "The gateway has no configuration yet: it could not read its database since it started."
        raise Unavailable(message, code="not_ready", retry_after=1)
    return snapshot


def authenticate(gateway: Gateway, snapshot: Snapshot, api_key: PresentedKey | None) -> Principal:
    """Return the owner of the key; raise Unauthenticated when it is missing, unknown or disabled."""
    if api_key is None:
        if gateway.options.allow_anonymous and not snapshot.has_credentials:
            return ANONYMOUS
        message = "No API key was sent. Send yours as 'Authorization: Bearer YOUR_KEY'."
        raise Unauthenticated(message)
    account = snapshot.account(api_key.digest(gateway.hasher))
    if account is None or not account.credential.is_enabled:
        message = "The API key is unknown or disabled. Ask the gateway administrator for a valid one."
        raise Unauthenticated(message)
    return account


def authorise(account: Principal, model: str) -> None:
    """Raise Forbidden unless the credential may use the model."""
    if model not in account.models:
        message = f"This API key may not use the model '{model}'. Ask the gateway administrator for access."
        raise Forbidden(message, param="model")
