"""Providers: upstream accounts, the kinds they are of, and what a valid one looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import msgspec

from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.model_patterns import is_glob
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.pricing.price_book import PriceBook
from llm_gateway.core.secret import Secret

# Seconds; an upper bound, so that a typing error does not overflow a timer.
LONGEST_PROBE_INTERVAL = 86_400.0

_API_VERSION = re.compile(r"[A-Za-z0-9._-]+")
# Named in messages, because the price book has dozens of providers.
_FAMOUS = ("openai", "azure", "anthropic", "google", "aws", "mistral", "openrouter", "groq")


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalog needs to know of a provider kind or preset; the adapter knows the rest."""

    name: str
    # The path segment that an `api_base` without a version gets, e.g. "/v1"; "" for none.
    version_segment: str = "/v1"
    default_api_base: str | None = None
    # URL schemes that `api_base` may have.
    schemes: tuple[str, ...] = ("http", "https")
    # False for servers that reject `stream_options`.
    stream_usage: bool = True
    # The endpoints that its providers serve; a deployment is in no plan for any other.
    endpoints: tuple[EndpointName, ...] = ("chat/completions", "completions")
    # The price book's name for the provider at `default_api_base`.
    price_provider: str | None = None
    # False for servers that serve names which their list of models leaves out, or that take any name.
    lists_all_models: bool = True


class ClientCredentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OAuth2 client credentials (RFC 6749, 4.4): the provider's secret is the client's secret."""

    token_url: str
    client_id: str
    scope: str | None = None


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
    # None = the secret itself is sent to the provider.
    oauth2: ClientCredentials | None = None
    # Azure's `api-version`; None = the kind's own, or none.
    api_version: str | None = None
    # Overrides the kind's `stream_usage`.
    stream_usage: bool | None = None
    # Seconds between health probes; None disables them.
    probe_interval: float | None = None
    # The price book's name for it; None = the kind's, if `api_base` is the kind's own.
    price_provider: str | None = None


def price_provider_of(provider: Provider, kind: Kind) -> str | None:
    """Return the price book's name for a provider, None if its prices are not known.

    A kind's name holds at the host of its own `default_api_base` alone: elsewhere the same models may have other
    prices, or none.
    """
    if provider.price_provider is not None:
        return provider.price_provider
    if kind.price_provider is None or kind.default_api_base is None:
        return None
    return kind.price_provider if _host(provider.api_base) == _host(kind.default_api_base) else None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        # Of a provider that is left out for this fault.
        return None


def provider_faults(
    provider: Provider, kinds: Mapping[str, Kind], book: PriceBook | None = None
) -> list[Fault]:
    """Return everything that is wrong with one provider; without a `book`, `price_provider` is not checked."""
    return [
        Fault("provider", provider.provider_key, field, message, provider.id)
        for field, message in _faults(provider, kinds, book)
    ]


def _faults(
    provider: Provider, kinds: Mapping[str, Kind], book: PriceBook | None
) -> Iterator[tuple[str, str]]:
    kind = kinds.get(provider.provider_type)
    if kind is None:
        known = ", ".join(sorted(kinds))
        yield "provider_type", f"provider_type {provider.provider_type!r} is unknown; use one of: {known}"
    else:
        yield from _base_faults(provider.api_base, kind)
    if provider.weight < 0:
        yield "weight", "weight must be 0 or more"
    yield from _mapping_faults(provider.model_mapping)
    if provider.oauth2 is not None:
        yield from _oauth2_faults(provider, provider.oauth2)
    if provider.api_version is not None and not _API_VERSION.fullmatch(provider.api_version):
        yield "api_version", "api_version must be letters, digits and . _ - only, as in 2024-10-21"
    if provider.probe_interval is not None and not 1 <= provider.probe_interval <= LONGEST_PROBE_INTERVAL:
        yield (
            "probe_interval",
            f"probe_interval must be 1 to {LONGEST_PROBE_INTERVAL:.0f} seconds, or null for no probes",
        )
    if (
        book is not None
        and provider.price_provider is not None
        and book.provider(provider.price_provider) is None
    ):
        yield "price_provider", _unknown_price_provider(provider.price_provider, book)


def _unknown_price_provider(name: str, book: PriceBook) -> str:
    # Imported on demand: it is needed for mistakes only.
    from difflib import get_close_matches  # noqa: PLC0415

    near = get_close_matches(name.lower(), book.providers, n=3, cutoff=0.5)
    return (
        f"price_provider {name!r} is not in the price book; "
        + (f"similar names are {', '.join(near)}; " if near else "")
        + f"it has, among others, {', '.join(_FAMOUS)}; null = unknown prices, except at the kind's own host"
    )


def _mapping_faults(mapping: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    field = "model_mapping"
    for public, upstream in mapping.items():
        if not public or not upstream:
            yield field, "model_mapping must not hold empty names"
        elif upstream != "*" and is_glob(upstream):
            yield field, f"model_mapping[{public!r}] must be one upstream name, or '*' for the same name"
        elif upstream == "*" and not is_glob(public):
            yield field, f"model_mapping[{public!r}] is '*', which only a glob may be mapped to"


def _base_faults(api_base: str, kind: Kind) -> list[tuple[str, str]]:
    faults = _url_faults("api_base", api_base, kind.schemes, "the secret in api_key")
    if not faults and "?" in api_base and api_base.lower().startswith("http"):
        # An empty query too: a path is appended.
        return [("api_base", "api_base must hold no query (?...)")]
    return faults


def _oauth2_faults(provider: Provider, oauth2: ClientCredentials) -> Iterator[tuple[str, str]]:
    secret_at = "the client's id in client_id and its secret in api_key"  # noqa: S105 - a sentence
    yield from _url_faults("oauth2.token_url", oauth2.token_url, ("http", "https"), secret_at)
    if not oauth2.client_id or not oauth2.client_id.isprintable():
        yield "oauth2.client_id", "oauth2.client_id must be given, in printable characters"
    # A disabled provider may wait for its secret, or for the variable that holds it.
    if provider.secret is None and provider.is_enabled:
        yield "api_key", "api_key must be given along with oauth2: it is the client's secret"


def _url_faults(field: str, url: str, schemes: tuple[str, ...], instead: str) -> list[tuple[str, str]]:
    problem = _url_problem(url, schemes, instead)
    return [] if problem is None else [(field, f"{field} must {problem}")]


def _url_problem(url: str, schemes: tuple[str, ...], instead: str) -> str | None:
    """Return what `url` must do to be valid, or None when it is."""
    wanted = f"be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return wanted
    if parts.scheme not in schemes or not parts.hostname:
        return wanted
    if parts.username is not None or parts.password is not None:
        return f"hold no user name or password; put {instead}"
    if any(character.isspace() or not character.isprintable() for character in url):
        return "hold no spaces or control characters"
    if "#" in url:
        return "hold no fragment (#...)"
    return None
