"""The rows that environment variables stand for, at the first start with a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from llm_gateway.core.config.providers import ClientCredentials, Kind
from llm_gateway.core.model_families import FAMILIES
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.files.contents import FieldKey, FileContents
from llm_gateway.flow.config.files.kind_names import likely_kind
from llm_gateway.flow.config.rows.base import RowUpdate
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings

_PRIMARY: Final = "primary"
_SECONDARY: Final = "secondary"


def environment_contents(settings: Settings, kinds: Mapping[str, Kind]) -> FileContents:
    """Return the rows that the variables stand for; raise StartupError, naming the variable, if one is missing."""
    places: dict[FieldKey, str] = {}
    providers = {update.provider_key: update for update in _families(settings, places)}
    for update in _services(settings, kinds, places):
        known = providers.get(update.provider_key)
        if known is None:
            providers[update.provider_key] = update
        elif getattr(settings, f"{update.provider_key}_base_url") is None:
            # The key is in a variable of its own, and the service's address here.
            providers[update.provider_key] = msgspec.structs.replace(known, api_base=update.api_base)
    endpoints, models = _endpoints(settings, places)
    providers |= {update.provider_key: update for update in endpoints}
    updates: tuple[RowUpdate[Any], ...] = (*providers.values(), *models)
    return FileContents(format="environment", updates=updates, places=places)


def unused_addresses(settings: Settings) -> list[str]:
    """Return the variables with the address of a provider that is not made, because its key is not set."""
    return [
        f"{family.name}_base_url".upper()
        for family in FAMILIES.values()
        if getattr(settings, f"{family.name}_base_url") is not None
        and getattr(settings, f"{family.name}_api_key") is None
    ]


def _families(settings: Settings, places: dict[FieldKey, str]) -> Iterator[ProviderUpdate]:
    for family in FAMILIES.values():
        variable = f"{family.name}_api_key".upper()
        if getattr(settings, variable.lower()) is None:
            continue
        base = getattr(settings, f"{family.name}_base_url")
        places["provider", family.name, ""] = variable
        places["provider", family.name, "api_base"] = f"{family.name}_base_url".upper()
        yield ProviderUpdate(
            provider_key=family.name,
            provider_type=family.kind,
            api_base=UNSET if base is None else base,
            secret=Secret(f"env:{variable}"),
            model_mapping={family.name: family.default_model, **dict.fromkeys(family.patterns, "*")},
        )


def _services(
    settings: Settings, kinds: Mapping[str, Kind], places: dict[FieldKey, str]
) -> Iterator[ProviderUpdate]:
    for name, url in (settings.downstream_services or {}).items():
        places.setdefault(("provider", name, ""), f"DOWNSTREAM_SERVICES[{name!r}]")
        places.setdefault(("provider", name, "api_base"), f"DOWNSTREAM_SERVICES[{name!r}]")
        # Every model: which service has which models is what the gateway asks them.
        yield ProviderUpdate(
            provider_key=name, provider_type=likely_kind(name, url, kinds), api_base=url, model_mapping={}
        )


def _endpoints(
    settings: Settings, places: dict[FieldKey, str]
) -> tuple[list[ProviderUpdate], list[ModelUpdate]]:
    """Return the providers at API_ENDPOINT and SURL, and DEFAULT_MODEL with its fallback."""
    public = settings.default_model
    if settings.api_endpoint is None:
        # The second server alone is no fallback, but what there is.
        if settings.surl is None:
            return [], []
        return [_secondary(settings, {public: settings.smodel or settings.model or public}, places)], []
    model = settings.model or public
    mapping = {public: model, model: model}
    second = settings.smodel if settings.surl is None else settings.smodel or model
    providers, fallback = [], None
    if second is not None:
        fallback = second if second not in mapping else f"{second}-{_SECONDARY}"
        if settings.surl is None:
            mapping[fallback] = second
        else:
            providers.append(_secondary(settings, {fallback: second}, places))
    providers.insert(0, _primary(settings, mapping, places))
    if fallback is None:
        return providers, []
    places["model", public, ""] = "DEFAULT_MODEL"
    return providers, [ModelUpdate(name=public, fallbacks=(fallback,))]


def _primary(settings: Settings, mapping: dict[str, str], places: dict[FieldKey, str]) -> ProviderUpdate:
    oauth2 = None
    credentials = {"CLIENT_ID": settings.client_id, "CLIENT_SECRET": settings.client_secret}
    missing = [name for name, value in credentials.items() if value is None]
    if settings.coin_url is not None:
        if missing:
            raise StartupError(f"{missing[0]} is not set, which COIN_URL needs to be asked for a token.")
        oauth2 = ClientCredentials(
            token_url=settings.coin_url, client_id=str(settings.client_id), scope=settings.scope
        )
    elif not missing:
        raise StartupError("COIN_URL is not set: CLIENT_ID and CLIENT_SECRET are for a token endpoint.")
    places |= {
        ("provider", _PRIMARY, ""): "API_ENDPOINT",
        ("provider", _PRIMARY, "oauth2"): "COIN_URL",
        ("provider", _PRIMARY, "model_mapping"): "MODEL",
    }
    return ProviderUpdate(
        provider_key=_PRIMARY,
        provider_type="openai",
        api_base=settings.api_endpoint or "",
        secret=UNSET if oauth2 is None else Secret("env:CLIENT_SECRET"),
        oauth2=UNSET if oauth2 is None else oauth2,
        model_mapping=mapping,
    )


def _secondary(settings: Settings, mapping: dict[str, str], places: dict[FieldKey, str]) -> ProviderUpdate:
    places |= {
        ("provider", _SECONDARY, ""): "SURL",
        ("provider", _SECONDARY, "model_mapping"): "SMODEL",
    }
    return ProviderUpdate(
        provider_key=_SECONDARY,
        provider_type="openai",
        api_base=settings.surl or "",
        secret=UNSET if settings.skey is None else Secret("env:SKEY"),
        model_mapping=mapping,
    )
