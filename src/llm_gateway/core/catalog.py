"""The editable configuration as values: what the admin API writes and the snapshot is built from."""

from __future__ import annotations

import msgspec

from llm_gateway.core.secret import Secret


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalog has to know of a provider kind or preset; the adapter knows the rest."""

    name: str
    # The path segment that an `api_base` without a version gets, e.g. "/v1"; "" for none.
    version_segment: str = "/v1"
    default_api_base: str | None = None
    # URL schemes that `api_base` may have.
    schemes: tuple[str, ...] = ("http", "https")
    # False for servers that refuse `stream_options`.
    stream_usage: bool = True


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream account."""

    id: int
    provider_key: str
    provider_type: str
    # As the admin sent it.
    api_base: str
    # None where the upstream needs none.
    secret: Secret | None = None
    # Public name (or glob) to upstream name; empty serves every name unchanged.
    model_mapping: dict[str, str] = {}
    weight: int = 1
    is_enabled: bool = True


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A client's key: only its keyed hash is known."""

    id: int
    name: str
    key_hash: bytes
    # None = all models, () = none; entries may be globs.
    allowed_models: tuple[str, ...] | None = None
    # Requests per second; None = unlimited, 0 = none.
    rate_limit: int | None = None
    is_enabled: bool = True


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent read of the whole configuration."""

    version: int
    providers: tuple[Provider, ...] = ()
    credentials: tuple[Credential, ...] = ()
    # What could not even be read (a secret that does not open, a missing `env:` variable).
    faults: tuple[str, ...] = ()
