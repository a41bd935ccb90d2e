"""Providers: upstream accounts, the models they serve, and their share of the requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_gateway.console.catalog.shares import SharePreview, ShownShares
from llm_gateway.console.editing.common_fields import ENABLED
from llm_gateway.console.editing.resource_pages import ResourcePages, done_at
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.forms.reading import read_form
from llm_gateway.console.path_ids import ROW_ID
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.core.config.model_patterns import is_glob
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.flow.config.editor import Edited
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.flow.explain.shares import ANY_OTHER, models_of, served_by_it_alone
from llm_gateway.flow.ports.workers import SharedDeploymentState
from llm_gateway.resources.providers import NewProvider, ProviderChange, shown

PATH: Final = "/console/providers"
_MOST_NAMES = 200
_MOST_BREAKERS = 20
_MOST_NAMED = 20
_MORE = "More settings"
_OAUTH2 = "OAuth2: an access token in place of the key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """What the workers of this server know of a provider."""

    # Whether the last answer or probe was a good one; None = there was neither.
    health: bool | None
    # Deployments whose breaker is not closed in some worker.
    breakers: Sequence[SharedDeploymentState]
    further: int
    in_flight: int
    workers: int
    # Models that no other provider takes requests for, how many beyond those, and whether that is so of other names.
    alone: Sequence[str]
    further_alone: int
    any_other_alone: bool


def _kind_options(kinds: Mapping[str, Kind], stored: str | None) -> list[tuple[str, str]]:
    options = [
        (name, name if kind.default_api_base is None else f"{name} ({kind.default_api_base})")
        for name, kind in sorted(kinds.items())
    ]
    if stored is not None and stored not in kinds:
        options.append((stored, f"{stored} (not known to this gateway)"))
    return options


def _fields(services: ConsoleServices, row: StoredProvider | None) -> Sequence[Field]:
    stored_key = None if row is None else row.api_key
    return (
        Field(
            name="provider_key",
            label="Provider key",
            required=True,
            hint="Its name: unique, in usage rows and metrics, and in the path of the admin API.",
            placeholder="openai-main",
        ),
        Field(
            name="provider_type",
            label="Kind",
            kind="choice",
            required=True,
            options=_kind_options(services.kinds, None if row is None else row.provider_type),
            hint="The API that it speaks. The kind “openai” fits most servers.",
        ),
        Field(
            name="api_base",
            label="Base URL",
            required=row is not None,
            placeholder="https://api.example.com/v1",
            hint="" if row is not None else "Left empty, it is the kind's own address, if the kind has one.",
        ),
        Field(
            name="api_key",
            label="API key",
            kind="secret",
            removable=stored_key is not None,
            placeholder="none" if stored_key is None else f"{stored_key} (stays unless you type another)",
            hint="Stored encrypted and never shown again. “env:OPENAI_API_KEY” reads it from that environment "
            "variable of the gateway.",
        ),
        ENABLED,
        Field(
            name="weight",
            label="Weight",
            kind="number",
            required=True,
            hint="Its share of the requests, compared with the weights of the others that serve a model. 0 takes no "
            "new requests.",
        ),
        Field(
            name="model_mapping",
            label="Models",
            kind="pairs",
            placeholder="public-name = upstream-name",
            hint="One “public = upstream” a line. A public name may be a pattern: “gpt-* = *” serves those names "
            "unchanged. Empty serves every name unchanged.",
        ),
        Field(
            name="oauth2.token_url",
            label="Token URL",
            group=_OAUTH2,
            hint="Where client credentials are exchanged; the API key is the client's secret.",
        ),
        Field(name="oauth2.client_id", label="Client ID", group=_OAUTH2),
        Field(name="oauth2.scope", label="Scope", group=_OAUTH2),
        Field(
            name="api_version",
            label="API version",
            group=_MORE,
            placeholder="2024-10-21",
            hint="Azure's. Empty: the kind's own.",
        ),
        Field(
            name="stream_usage",
            label="Takes stream_options",
            kind="optional_flag",
            group=_MORE,
            placeholder="As its kind does",
            hint="No for servers that reject it; the gateway then counts a stream's tokens by itself.",
        ),
        Field(
            name="probe_interval",
            label="Seconds between health probes",
            kind="number",
            group=_MORE,
            placeholder="no probes",
            hint="A probe lists its models, which costs nothing.",
        ),
        Field(
            name="price_provider",
            label="Prices of",
            group=_MORE,
            suggestions="price-providers",
            placeholder="as its kind, at the kind's own address",
            hint="The price book's name of a provider.",
        ),
    )


async def _states(services: ConsoleServices, rows: Sequence[StoredProvider]) -> Sequence[Mapping[str, Any]]:
    return [{"of": state} for state in provider_states(services, rows)]


def provider_states(
    services: ConsoleServices, rows: Sequence[StoredProvider], names: int = 3
) -> list[ProviderState]:
    """Return what is known of these providers, with up to `names` models that each serves alone."""
    by_key: dict[str, list[SharedDeploymentState]] = {}
    for one in services.deployment_states.deployments():
        by_key.setdefault(one.provider_key, []).append(one)
    health, workers = services.deployment_states.health(), services.deployment_states.workers()
    snapshot = services.snapshots.current
    found = []
    for row in rows:
        states = by_key.get(row.provider_key, [])
        shut = [one for one in states if one.open or one.half_open]
        alone = [] if snapshot is None else list(served_by_it_alone(snapshot, row.provider_key))
        named = [name for name in alone if name != ANY_OTHER]
        found.append(
            ProviderState(
                health=health.get(row.provider_key),
                breakers=shut[:_MOST_BREAKERS],
                further=max(len(shut) - _MOST_BREAKERS, 0),
                in_flight=sum(one.in_flight for one in states),
                workers=workers,
                alone=named[:names],
                further_alone=max(len(named) - names, 0),
                any_other_alone=ANY_OTHER in alone,
            )
        )
    return found


def _models(snapshot: Snapshot, row: StoredProvider) -> Iterable[str]:
    return models_of(snapshot, row.provider_key)


_PREVIEW: Final = SharePreview(_models, lambda row: row.provider_key)


def _suggestions(services: ConsoleServices) -> Mapping[str, Iterable[str]]:
    snapshot = services.snapshots.current
    book = None if snapshot is None else snapshot.price_book
    return {"price-providers": () if book is None else book.providers}


def _blank(_request: Request) -> Mapping[str, Any]:
    return {"panel": ShownShares(is_preview=False)}


def _deletion(services: ConsoleServices, row: StoredProvider) -> Mapping[str, Any]:
    return {"state": provider_states(services, [row], _MOST_NAMED)[0]}


async def _detail(request: Request, row: StoredProvider) -> Mapping[str, Any]:
    services = services_of(request)
    mapping = row.model_mapping if isinstance(row.model_mapping, dict) else {}
    names = [upstream for public, upstream in mapping.items() if upstream != "*"]
    names += [public for public, upstream in mapping.items() if upstream == "*" and not is_glob(public)]
    return {
        "panel": _PREVIEW.stored(services, row),
        "state": provider_states(services, [row], _MOST_NAMED)[0],
        "upstream_names": list(dict.fromkeys(names))[:_MOST_NAMES],
        "test": None,
        "test_problem": None,
        "asked_model": "",
    }


def _written(request: Request, edited: Edited[StoredProvider]) -> Response | None:
    """Lead from a new provider to its page, where it can be tested."""
    if not request.scope["path"].endswith("/new"):
        return None
    return done_at(request, f"{PATH}/{edited.row.id}", edited, "created")


PAGES: Final = ResourcePages(
    stored=StoredProvider,
    path=PATH,
    one="provider",
    title="Providers",
    about="A provider is an account at an LLM service, or a server of your own. It serves public models, under its "
    "own names for them; of several that serve a model, each gets its share of the requests.",
    empty="There are no providers, so no model is served. Create one: its kind and its API key are enough.",
    new=NewProvider,
    change=ProviderChange,
    shown=shown,
    fields=_fields,
    list_template="catalog/providers.html",
    form_template="catalog/provider.html",
    delete_template="catalog/provider_delete.html",
    defaults={"is_enabled": True, "weight": 1, "provider_type": "openai"},
    state=_states,
    suggestions=_suggestions,
    blank=_blank,
    detail=_detail,
    deletion=_deletion,
    written=_written,
)


async def _enable(request: Request) -> Response:
    return await _set_enabled(request, is_enabled=True)


async def _disable(request: Request) -> Response:
    return await _set_enabled(request, is_enabled=False)


async def _set_enabled(request: Request, *, is_enabled: bool) -> Response:
    row = await PAGES.find(request)
    form = await read_form(request)
    edited = await services_of(request).editor.update(row.id, ProviderUpdate(is_enabled=is_enabled))
    done = "enabled" if is_enabled else "disabled"
    return done_at(request, PATH, edited, done, search=form.get("search"), cursor=form.get("cursor"))


ROUTES: Final = [
    *_PREVIEW.routes(PAGES),
    Route(f"{PATH}/{ROW_ID}/enable", _enable, methods=["POST"]),
    Route(f"{PATH}/{ROW_ID}/disable", _disable, methods=["POST"]),
    *PAGES.routes(),
]
