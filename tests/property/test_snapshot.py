"""A snapshot is the whole catalog or none of it, whatever the catalog holds."""

from __future__ import annotations

import fnmatch
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import Kind, Provider
from llm_gateway.core.config.snapshot import CatalogInvalid, build_snapshot

KINDS = {"openai": Kind(name="openai"), "bare": Kind(name="bare", version_segment="")}
MODELS = ("a", "ab", "b", "b1", "other")

_mappings = st.dictionaries(
    st.sampled_from(("a", "ab", "b", "a*", "b?", "*")), st.sampled_from(("x", "y")), max_size=3
).flatmap(lambda mapping: st.sampled_from((mapping, {**mapping, "*": "*"}, {**mapping, "b*": "*"}, {})))
_providers = st.builds(
    Provider,
    id=st.integers(1, 9),
    provider_key=st.text(min_size=1, max_size=8),
    provider_type=st.sampled_from(sorted(KINDS)),
    api_base=st.sampled_from(("http://one/v1", "https://two", "http://three:80/v2/")),
    model_mapping=_mappings,
    weight=st.integers(0, 3),
    is_enabled=st.booleans(),
)
_credentials = st.builds(
    Credential,
    id=st.integers(1, 9),
    name=st.text(max_size=8),
    key_hash=st.binary(min_size=4, max_size=4),
    allowed_models=st.none() | st.lists(st.sampled_from((*MODELS, "a*")), max_size=3).map(tuple),
    rate_limit=st.none() | st.integers(0, 5),
    is_enabled=st.booleans(),
)
_models = st.builds(
    Model,
    id=st.integers(1, 9),
    name=st.sampled_from(MODELS),
    weights=st.dictionaries(st.text(min_size=1, max_size=8), st.integers(0, 3), max_size=2),
    fallbacks=st.lists(st.sampled_from(("nobody", "elsewhere")), max_size=2).map(tuple),
)
_catalogs = st.builds(
    Catalog,
    version=st.integers(1, 10**9),
    providers=st.lists(_providers, max_size=5, unique_by=lambda one: one.provider_key).map(tuple),
    credentials=st.lists(_credentials, max_size=4, unique_by=lambda one: one.key_hash).map(tuple),
    models=st.lists(_models, max_size=3, unique_by=lambda one: one.name).map(tuple),
)


@st.composite
def _weighed(draw: st.DrawFn) -> Catalog:
    """Return a catalog whose models weigh some of its providers."""
    catalog = draw(_catalogs)
    keys = [provider.provider_key for provider in catalog.providers]
    if not keys:
        return catalog
    weights = st.dictionaries(st.sampled_from(keys), st.integers(0, 3), max_size=3)
    models = [
        msgspec.structs.replace(model, weights={**model.weights, **draw(weights)}) for model in catalog.models
    ]
    return msgspec.structs.replace(catalog, models=tuple(models))


# Each makes a catalog wrong in one way.
_FLAWS: dict[str, dict[str, Any]] = {
    "weight": {"weight": -1},
    "provider_type": {"provider_type": "unheard-of"},
    "api_base": {"api_base": "gopher://x"},
    "model_mapping": {"model_mapping": {"": "x"}},
}


def upstream_name(provider: Provider, model: str) -> str | None:
    """Say what C19 says, as plainly as can be."""
    if not provider.is_enabled:
        return None
    if not provider.model_mapping:
        return model
    if model in provider.model_mapping:
        return provider.model_mapping[model]
    for public, upstream in provider.model_mapping.items():
        if fnmatch.fnmatchcase(model, public):
            return model if upstream == "*" else upstream
    return None


@given(catalog=_weighed())
def test_c19_a_valid_catalog_is_served_in_full(catalog: Catalog) -> None:
    snapshot = build_snapshot(catalog, KINDS)
    assert snapshot.version == catalog.version
    for model in MODELS:
        rules = next((one for one in catalog.models if one.name == model), None)
        own = {} if rules is None else rules.weights
        names = [(provider, upstream_name(provider, model)) for provider in catalog.providers]
        serving = [(provider, name) for provider, name in names if name is not None]
        route = snapshot.route(model)
        assert (route is None) == (not serving)
        assert snapshot.serves(model) == bool(serving)
        if route is not None:
            assert [(one.provider_key, one.upstream_model, one.weight) for one in route.deployments] == [
                (provider.provider_key, name, weight)
                for provider, name in serving
                if (weight := own.get(provider.provider_key, provider.weight)) > 0
            ]
            assert route.rules == (rules or Model(id=0, name=model))
            assert snapshot.route(model) is route
    for credential in catalog.credentials:
        account = snapshot.account(credential.key_hash)
        assert account is not None
        assert account.credential is credential
        for model in MODELS:
            allowed = credential.allowed_models
            assert (model in account.models) == (
                allowed is None or any(fnmatch.fnmatchcase(model, entry) for entry in allowed)
            )


@given(
    catalog=_catalogs,
    flaws=st.lists(st.tuples(_providers, st.sampled_from(sorted(_FLAWS))), max_size=3),
    twice=st.booleans(),
    unread=st.lists(
        st.sampled_from(("no key opens this", "TOKEN is not set")).map(
            lambda message: Fault("provider", "unread", "api_key", message)
        ),
        max_size=2,
        unique=True,
    ),
)
def test_one_flaw_anywhere_and_nothing_is_served_and_every_flaw_is_named(
    catalog: Catalog, flaws: list[tuple[Provider, str]], twice: bool, unread: list[Fault]
) -> None:
    broken = [
        msgspec.structs.replace(provider, provider_key=f"broken {number}", **_FLAWS[flaw])
        for number, (provider, flaw) in enumerate(flaws)
    ]
    providers = (*catalog.providers, *broken, *(broken[:1] if twice else ()))
    wrong = msgspec.structs.replace(catalog, providers=providers, faults=tuple(unread))
    expected = len(unread) + len(flaws) + (2 if twice and broken else 0)
    try:
        build_snapshot(wrong, KINDS)
    except CatalogInvalid as invalid:
        faults = invalid.faults
    else:
        faults = ()
    assert len(faults) == expected
    assert set(unread) <= set(faults)
    for number, (_, flaw) in enumerate(flaws):
        assert any(str(fault).startswith(f"provider 'broken {number}': {flaw}") for fault in faults)
