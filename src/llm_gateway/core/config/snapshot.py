"""Builds the immutable, indexed form of a catalog that requests read, or reports every fault of the catalog."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from llm_gateway.core.config.accounts import Accounts, Principal
from llm_gateway.core.config.budgets import BudgetIndex
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.checks.faulty_rows import usable_rows
from llm_gateway.core.config.checks.validation import catalog_faults
from llm_gateway.core.config.deployments import Deployment, EnabledProvider
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.prices import PriceLookup
from llm_gateway.core.config.providers import Kind, Provider
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.pricing.price_book import PriceBook

__all__ = ["Principal"]

# Routes of wildcard providers are made on demand; at most this many are cached.
_ROUTE_CACHE_SIZE = 4096


class CatalogInvalid(Exception):
    """The catalog is invalid; `faults` holds every reason, without secrets."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


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
        self._narrowed: dict[Hashable, Route] = {}

    def answering(self, endpoint: EndpointName) -> Route:
        """Return this route without the deployments that do not serve `endpoint`."""
        if endpoint in self.endpoints:
            return self
        narrowed = self._narrowed.get(endpoint)
        if narrowed is None:
            able = tuple(one for one in self.deployments if endpoint in one.endpoints)
            narrowed = Route(self.model, able, explicit=self.explicit, rules=self.rules)
            narrowed.state_key = (self.state_key, endpoint)
            self._narrowed[endpoint] = narrowed
        return narrowed

    def answering_at(self, endpoint: EndpointName, provider_id: int) -> Route:
        """Return this route with one provider's deployments alone, those that serve `endpoint`."""
        narrowed = self._narrowed.get((endpoint, provider_id))
        if narrowed is None:
            able = tuple(
                one
                for one in self.deployments
                if one.provider_id == provider_id and endpoint in one.endpoints
            )
            narrowed = Route(self.model, able, explicit=self.explicit, rules=self.rules)
            narrowed.state_key = (self.state_key, endpoint, provider_id)
            if able:
                # Clients choose the id of a provider that is gone, so only others are remembered.
                self._narrowed[endpoint, provider_id] = narrowed
        return narrowed

    def priced(self, created_at_us: int) -> Route:
        """Return this route without the deployments that have no known prices for a request of that time."""
        priced = tuple(
            one
            for one in self.deployments
            if one.prices is not None and one.prices.at(created_at_us).are_known
        )
        if len(priced) == len(self.deployments):
            return self
        key = tuple(one.key for one in priced)
        narrowed = self._narrowed.get(key)
        if narrowed is None:
            narrowed = Route(self.model, priced, explicit=self.explicit, rules=self.rules)
            narrowed.state_key = (self.state_key, "priced")
            self._narrowed[key] = narrowed
        return narrowed


def _common(deployments: Sequence[Deployment]) -> frozenset[EndpointName]:
    sets = [frozenset(deployment.endpoints) for deployment in deployments]
    return frozenset.intersection(*sets) if sets else frozenset()


class Snapshot:
    """The configuration in force. A request reads it once and uses it until it ends."""

    def __init__(
        self,
        catalog: Catalog,
        kinds: Mapping[str, Kind],
        *,
        faults: tuple[Fault, ...] = (),
        kept: tuple[str, ...] = (),
        left_out: tuple[Provider, ...] = (),
        prices: PriceBook | None = None,
    ) -> None:
        """Index a validated catalog. The rows that `faults` are about are not in it as they are stored.

        Those in `kept` are in it as they were before; the providers `left_out` get no requests. Without `prices`, no
        deployment has any.
        """
        self.catalog = catalog
        self.version = catalog.version
        self.faults = faults
        self.kept = kept
        self.price_book = prices
        lookup = None if prices is None else PriceLookup(prices, catalog.prices)
        self.providers = tuple(
            EnabledProvider(provider, kinds[provider.provider_type], lookup)
            for provider in catalog.providers
            if provider.is_enabled
        )
        self.by_key = {provider.provider.provider_key: provider for provider in self.providers}
        # Get no requests; the explanation of a route shows why they are left out.
        self.disabled = tuple(
            EnabledProvider(provider, kinds[provider.provider_type], lookup)
            for provider in catalog.providers
            if not provider.is_enabled
        )
        self.left_out = tuple(
            EnabledProvider(provider, kinds[provider.provider_type], lookup)
            for provider in left_out
            if provider.is_enabled and provider.provider_type in kinds
        )
        self.budgets = BudgetIndex(budget for budget in catalog.budgets if budget.is_enabled)
        accounts = Accounts(catalog.credentials, catalog.tenants, catalog.projects, self.budgets)
        # By the hashes of current and previous keys.
        self.accounts = accounts.by_key_hash
        # The account of requests without a key, where those are allowed.
        self.anonymous = accounts.anonymous
        self.has_credentials = bool(catalog.credentials)
        self.models = {model.name: model for model in catalog.models}
        self.task_types = {task.name: task.models for task in catalog.task_types}
        self._wildcards = tuple(provider for provider in self.providers if provider.globs)
        if prices is not None:
            # Now rather than in a request, which makes routes of models that only globs match.
            prices.prepare({provider.price_provider for provider in self._wildcards})
        # Positions in `providers`: of those that have globs, and of those that list a model by name.
        self._with_globs = tuple(at for at, provider in enumerate(self.providers) if provider.globs)
        self._naming: dict[str, list[int]] = {}
        for at, provider in enumerate(self.providers):
            for model in provider.names:
                self._naming.setdefault(model, []).append(at)
        # Names that some enabled provider lists, in the catalog's order.
        self.explicit_models = tuple(self._naming)
        self._routes = {model: self._make_route(model, explicit=True) for model in self._naming}
        for provider in self.left_out:
            # Known, and without a deployment for now.
            for model in provider.names:
                if model not in self._routes:
                    self._routes[model] = self._make_route(model, explicit=True)
        self._has_globs = bool(self._wildcards) or any(provider.globs for provider in self.left_out)
        self._made_on_demand: dict[str, Route | None] = {}

    def account(self, key_hash: bytes) -> Principal | None:
        """Return the account whose key, or previous key, has this hash, enabled or not, or None."""
        return self.accounts.get(key_hash)

    def route(self, model: str) -> Route | None:
        """Return the route of `model`, or None if no enabled provider serves it.

        A route without deployments means that all who serve it are drained (weight 0).
        """
        route = self._routes.get(model)
        if route is not None or not self._has_globs:
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
        return any(
            provider.upstream_model(model) is not None for provider in (*self._wildcards, *self.left_out)
        )

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


def build_snapshot(catalog: Catalog, kinds: Mapping[str, Kind], prices: PriceBook | None = None) -> Snapshot:
    """Return `catalog` as a snapshot; raise CatalogInvalid with every fault."""
    faults = catalog_faults(catalog, kinds, prices)
    if faults:
        raise CatalogInvalid(tuple(faults))
    return Snapshot(catalog, kinds, prices=prices)


def build_usable_snapshot(
    catalog: Catalog,
    kinds: Mapping[str, Kind],
    before: Snapshot | None = None,
    prices: PriceBook | None = None,
) -> Snapshot:
    """Return what can be served of `catalog` as a snapshot, whose `faults` name the rest.

    `before` is the snapshot in force until now: see `usable_rows`.
    """
    faults = tuple(catalog_faults(catalog, kinds, prices))
    usable = usable_rows(catalog, faults, None if before is None else before.catalog)
    return Snapshot(
        usable.catalog, kinds, faults=faults, kept=usable.kept, left_out=usable.left_out, prices=prices
    )
