"""Builds the immutable, indexed form of a catalog that requests read, or reports every fault of the catalog."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.model_patterns import ModelPatterns, is_glob
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import ClientCredentials, Kind, Provider
from llm_gateway.core.config.validation import catalog_faults
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.secret import Secret

# Routes of wildcard providers are made on demand; at most this many are cached.
_ROUTE_CACHE_SIZE = 4096


class CatalogInvalid(Exception):
    """The catalog is invalid; `faults` holds every reason, without secrets."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


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

    @property
    def key(self) -> tuple[int, str]:
        """Identifies this deployment across snapshots."""
        return (self.provider_id, self.upstream_model)


class Route:
    """A public model, the deployments that take new requests for it, and the rules they are chosen by."""

    __slots__ = (
        "_narrowed", "deployments", "endpoints", "explicit", "keys", "model", "rules", "state_key", "weights",
    )  # fmt: skip

    def __init__(
        self,
        model: str,
        deployments: tuple[Deployment, ...],
        *,
        explicit: bool,
        rules: Model | None = None,
    ) -> None:
        """Index `deployments` for the selector; `explicit` is True if a provider lists the model by name."""
        self.model = model
        self.deployments = deployments
        self.explicit = explicit
        # The catalog's row for this model, or one with the defaults.
        self.rules = rules or Model(id=0, name=model)
        self.keys = tuple(deployment.key for deployment in deployments)
        self.weights = tuple(deployment.weight for deployment in deployments)
        # The endpoints that every deployment serves.
        self.endpoints = _common(deployments)
        # The key of the selector's state for this route.
        self.state_key: Hashable = model
        self._narrowed: dict[EndpointName, Route] = {}

    def answering(self, endpoint: EndpointName) -> Route:
        """Return this route without the deployments that do not serve `endpoint`."""
        if endpoint in self.endpoints:
            return self
        narrowed = self._narrowed.get(endpoint)
        if narrowed is None:
            able = tuple(one for one in self.deployments if endpoint in one.endpoints)
            narrowed = Route(self.model, able, explicit=self.explicit, rules=self.rules)
            narrowed.state_key = (self.model, endpoint)
            self._narrowed[endpoint] = narrowed
        return narrowed


def _common(deployments: Sequence[Deployment]) -> frozenset[EndpointName]:
    sets = [frozenset(deployment.endpoints) for deployment in deployments]
    return frozenset.intersection(*sets) if sets else frozenset()


class Principal:
    """A credential as admission needs it."""

    __slots__ = ("credential", "is_limited", "models")

    def __init__(self, credential: Credential) -> None:
        """Compile the credential's model patterns."""
        self.credential = credential
        self.models = ModelPatterns(credential.allowed_models)
        # Whether any limit applies; most accounts have none, and skip the reservation.
        self.is_limited = credential.rate_limit is not None


class EnabledProvider:
    """An enabled provider with its mapping compiled."""

    __slots__ = ("base_url", "globs", "kind", "names", "provider")

    def __init__(self, provider: Provider, kind: Kind) -> None:
        """Split the mapping into names and globs (in the order they were written)."""
        self.provider = provider
        self.kind = kind
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
        )


class Snapshot:
    """The configuration in force. A request reads it once and uses it until it ends."""

    def __init__(self, catalog: Catalog, kinds: Mapping[str, Kind]) -> None:
        """Index a catalog that `build_snapshot` has validated."""
        self.version = catalog.version
        self.providers = tuple(
            EnabledProvider(provider, kinds[provider.provider_type])
            for provider in catalog.providers
            if provider.is_enabled
        )
        self.by_key = {provider.provider.provider_key: provider for provider in self.providers}
        # Get no requests; the explanation of a route shows why they are left out.
        self.disabled = tuple(
            EnabledProvider(provider, kinds[provider.provider_type])
            for provider in catalog.providers
            if not provider.is_enabled
        )
        self.accounts = {credential.key_hash: Principal(credential) for credential in catalog.credentials}
        self.has_credentials = bool(catalog.credentials)
        self.models = {model.name: model for model in catalog.models}
        self.task_types = {task.name: task.models for task in catalog.task_types}
        self._wildcards = tuple(provider for provider in self.providers if provider.globs)
        # Positions in `providers`: of those that have globs, and of those that list a model by name.
        self._with_globs = tuple(at for at, provider in enumerate(self.providers) if provider.globs)
        self._naming: dict[str, list[int]] = {}
        for at, provider in enumerate(self.providers):
            for model in provider.names:
                self._naming.setdefault(model, []).append(at)
        # Names that some enabled provider lists, in the catalog's order.
        self.explicit_models = tuple(self._naming)
        self._routes = {model: self._make_route(model, explicit=True) for model in self._naming}
        self._made_on_demand: dict[str, Route | None] = {}

    def account(self, key_hash: bytes) -> Principal | None:
        """Return the account with this key hash, enabled or not, or None."""
        return self.accounts.get(key_hash)

    def route(self, model: str) -> Route | None:
        """Return the route of `model`, or None if no enabled provider serves it.

        A route without deployments means that all who serve it are drained (weight 0).
        """
        route = self._routes.get(model)
        if route is not None or not self._wildcards:
            return route
        made = self._made_on_demand
        if model in made:
            return made[model]
        found = self._make_route(model, explicit=False)
        answer = found if found.deployments or self._served(model) else None
        if len(made) >= _ROUTE_CACHE_SIZE:
            del made[next(iter(made))]
        made[model] = answer
        return answer

    def names(self, model: str) -> bool:
        """Tell whether some enabled provider lists `model` by name."""
        return model in self._routes

    @property
    def wildcard_providers(self) -> tuple[EnabledProvider, ...]:
        """Return the enabled providers that serve names they do not list."""
        return self._wildcards

    def serves(self, model: str) -> bool:
        """Tell whether some enabled provider serves `model`, drained or not."""
        return model in self._routes or self._served(model)

    def _served(self, model: str) -> bool:
        return any(provider.upstream_model(model) is not None for provider in self._wildcards)

    def _make_route(self, model: str, *, explicit: bool) -> Route:
        deployments = []
        rules = self.models.get(model)
        weights = rules.weights if rules is not None else {}
        candidates: Sequence[int] = self._naming.get(model, ())
        if self._with_globs:
            candidates = sorted({*candidates, *self._with_globs})
        for at in candidates:
            provider = self.providers[at]
            upstream_model = provider.upstream_model(model)
            weight = weights.get(provider.provider.provider_key, provider.provider.weight)
            if upstream_model is not None and weight > 0:
                deployments.append(provider.deployment(upstream_model, weight))
        return Route(model, tuple(deployments), explicit=explicit, rules=rules)


def build_snapshot(catalog: Catalog, kinds: Mapping[str, Kind]) -> Snapshot:
    """Return `catalog` as a snapshot; raise CatalogInvalid with every fault."""
    faults = catalog_faults(catalog, kinds)
    if faults:
        raise CatalogInvalid(tuple(faults))
    return Snapshot(catalog, kinds)


def normalise_base_url(api_base: str, kind: Kind) -> str:
    """Return `api_base` without a trailing slash, and with the kind's version segment if it has none."""
    base = api_base.rstrip("/")
    if not kind.version_segment:
        return base
    path = urlsplit(base).path
    if any(_is_version(segment) for segment in path.split("/")):
        return base
    return base + kind.version_segment


def _is_version(segment: str) -> bool:
    # v1, v1beta, v2, v4alpha1 ...
    return len(segment) > 1 and segment[0] == "v" and segment[1].isdigit()
