"""Admits requests: checks the gateway's state, the API key, and access to the model."""

from __future__ import annotations

from llm_gateway.core.config.snapshot import Principal, Snapshot
from llm_gateway.core.errors import Forbidden, GatewayError, Unauthenticated, Unavailable
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.dialect import PresentedKey, VouchedCaller


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
    """Return the owner of the key; raise Unauthenticated when it is missing, unknown, disabled or expired.

    Raise Forbidden while the account that stands for all callers of a surface is disabled.
    """
    if api_key is None:
        if gateway.options.allow_anonymous and not snapshot.has_credentials:
            return snapshot.anonymous
        message = "Incorrect API key provided: none was sent. Send yours as 'Authorization: Bearer YOUR_KEY'."
        raise Unauthenticated(message)
    digest = api_key.digest(gateway.hasher)
    account = snapshot.account(digest)
    if account is None or account.needs_check:
        if account is not None and isinstance(api_key, VouchedCaller):
            _refuse_disabled_surface(account)
        return _checked(account, digest, gateway.clock)
    return account


def _checked(account: Principal | None, digest: bytes, clock: Clock) -> Principal:
    """Return the account if its key with the hash `digest` is valid now; raise Unauthenticated."""
    if account is None or not account.credential.is_enabled or account.credential.revoked_at is not None:
        # Clients recognise OpenAI's words.
        message = "Incorrect API key provided: it is unknown or disabled. Ask the gateway administrator for another."
        raise Unauthenticated(message)
    # Who has a key may know that it has expired.
    credential = account.credential
    now = clock.unix_us()
    if credential.expires_at is not None and credential.expires_at <= now:
        message = "Expired API key provided. Ask the gateway administrator for another."
        raise Unauthenticated(message, code="expired_api_key")
    if digest == credential.previous_key_hash != credential.key_hash and (
        credential.previous_key_expires_at is None or credential.previous_key_expires_at <= now
    ):
        message = (
            "Expired API key provided: it was replaced by a new one. Ask the gateway administrator for that."
        )
        raise Unauthenticated(message, code="expired_api_key")
    return account


def _refuse_disabled_surface(account: Principal) -> None:
    """Raise Forbidden: the caller has proved who it is, and would look in vain for a fault in its key."""
    credential = account.credential
    if not credential.is_enabled or credential.revoked_at is not None:
        message = (
            f"This API is disabled: the credential '{credential.name}', which stands for its callers, is disabled or "
            "revoked. Ask the gateway administrator to enable it."
        )
        raise Forbidden(message, code="surface_disabled")


def refuse_disabled_owner(account: Principal) -> None:
    """Raise Forbidden if the account's tenant or project is disabled."""
    owner = account.shut_by
    if owner is not None:
        name = account.tenant if owner == "tenant" else account.project
        message = (
            f"The {owner} '{name}' of this API key is disabled. Ask the gateway administrator for access."
        )
        raise Forbidden(message, code=f"{owner}_disabled")


def admit_unmetered(gateway: Gateway, api_key: PresentedKey | None) -> tuple[Snapshot, Principal]:
    """Return the configuration and the account of a request that uses no model; raise GatewayError to refuse it."""
    snapshot = current_snapshot(gateway, admitted=True)
    account = authenticate(gateway, snapshot, api_key)
    refuse_disabled_owner(account)
    return snapshot, account


def refuse_shut(gateway: Gateway, account: Principal) -> None:
    """Raise the reason why this account may make no request at all (`Principal.is_shut`), whatever its body says."""
    refuse_disabled_owner(account)
    if account.models.is_empty:
        message = "This API key may not use any model. Ask the gateway administrator for access."
        raise Forbidden(message)
    gateway.limit.check(account)


def authorise(account: Principal, model: str) -> None:
    """Raise Forbidden unless the credential may use the model."""
    if model not in account.models:
        message = f"This API key may not use the model '{model}'. Ask the gateway administrator for access."
        raise Forbidden(message, param="model")


def credential_id_of(gateway: Gateway, api_key: PresentedKey | None) -> int | None:
    """Return the id of the credential that a request is for, None when `authenticate` would refuse the request."""
    snapshot = gateway.snapshots.current
    if snapshot is None:
        return None
    try:
        return authenticate(gateway, snapshot, api_key).credential.id
    except GatewayError:
        # Whoever admits the request says why.
        return None
