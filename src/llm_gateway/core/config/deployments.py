"""Deployments: an enabled provider under one upstream model name, with all that an attempt needs to know."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from llm_gateway.core.config.model_patterns import ModelPatterns, is_glob
from llm_gateway.core.config.prices import PriceLookup
from llm_gateway.core.config.providers import ClientCredentials, Kind, Provider, price_provider_of
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.core.secret import Secret


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One provider under one upstream model name, able to serve a public model."""

    provider_id: int
    provider_key: str
    kind: str
    # With the version segment and without a trailing slash, so that a path can be appended.
    base_url: str
    secret: Secret | None
    upstream_model: str
    weight: int
    stream_usage: bool
    endpoints: tuple[EndpointName, ...] = ("chat/completions", "completions")
    oauth2: ClientCredentials | None = None
    api_version: str | None = None
    # Further secrets that no message may contain: of an OAuth2 client, and access tokens it had before.
    other_secrets: tuple[Secret, ...] = ()
    # None = no prices are known: the gateway has no price book.
    prices: DeploymentPrices | None = None

    @property
    def key(self) -> tuple[int, str]:
        """Identifies this deployment across snapshots."""
        return (self.provider_id, self.upstream_model)


class EnabledProvider:
    """An enabled provider with its mapping compiled."""

    __slots__ = ("_prices", "base_url", "globs", "kind", "names", "price_provider", "provider")

    def __init__(self, provider: Provider, kind: Kind, prices: PriceLookup | None = None) -> None:
        """Split the mapping into names and globs (in the order they were written)."""
        self.provider = provider
        self.kind = kind
        self._prices = prices
        # The price book's name for it; None if its prices are not known.
        self.price_provider = price_provider_of(provider, kind)
        self.base_url = normalise_base_url(provider.api_base, kind)
        mapping = provider.model_mapping or {"*": "*"}
        self.names = {public: upstream for public, upstream in mapping.items() if not is_glob(public)}
        self.globs = tuple(
            (ModelPatterns((public,)), upstream) for public, upstream in mapping.items() if is_glob(public)
        )

    def upstream_model(self, model: str) -> str | None:
        """Return the upstream name for a public `model`, or None when this provider does not serve it."""
        named = self.names.get(model)
        if named is not None:
            return named
        for pattern, upstream in self.globs:
            if model in pattern:
                return model if upstream == "*" else upstream
        return None

    def may_ask_for(self, upstream_model: str) -> bool:
        """Tell whether some public model leads to `upstream_model`."""
        return upstream_model in self.names.values() or any(
            upstream == upstream_model or (upstream == "*" and upstream_model in pattern)
            for pattern, upstream in self.globs
        )

    def deployment(self, upstream_model: str, weight: int | None = None) -> Deployment:
        """Return this provider under `upstream_model`, with its own weight unless another is given."""
        return Deployment(
            provider_id=self.provider.id,
            provider_key=self.provider.provider_key,
            kind=self.provider.provider_type,
            base_url=self.base_url,
            secret=self.provider.secret,
            upstream_model=upstream_model,
            weight=self.provider.weight if weight is None else weight,
            stream_usage=(
                self.kind.stream_usage if self.provider.stream_usage is None else self.provider.stream_usage
            ),
            endpoints=self.kind.endpoints,
            oauth2=self.provider.oauth2,
            api_version=self.provider.api_version,
            prices=self.prices(upstream_model),
        )

    def prices(self, upstream_model: str) -> DeploymentPrices | None:
        """Return the prices of this provider under `upstream_model`; None without a price book."""
        if self._prices is None:
            return None
        return self._prices.prices(self.provider.provider_key, self.price_provider, upstream_model)


def normalise_base_url(api_base: str, kind: Kind) -> str:
    """Return `api_base` without a trailing slash, and with the kind's version segment if it has none."""
    base = api_base.rstrip("/")
    if not kind.version_segment:
        return base
    try:
        path = urlsplit(base).path
    except ValueError:
        # Of a provider that is left out for this fault.
        return base
    if any(_is_version(segment) for segment in path.split("/")):
        return base
    return base + kind.version_segment


def _is_version(segment: str) -> bool:
    # v1, v1beta, v2, v4alpha1 ...
    return len(segment) > 1 and segment[0] == "v" and segment[1].isdigit()
