"""Models: how requests for a public model are spread over its providers, retried, and cached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from llm_gateway.console.catalog.shares import ModelShares, SharePreview, ShownShares, model_shares
from llm_gateway.console.editing.common_fields import cache_fields, number_fields
from llm_gateway.console.editing.resource_pages import ResourcePages
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.core.config.models import STRATEGIES
from llm_gateway.core.errors import GatewayError
from llm_gateway.flow.config.rows.models import StoredModel
from llm_gateway.flow.explain.answer import Explanation, Question
from llm_gateway.flow.explain.explainer import main_endpoint
from llm_gateway.resources.models import ModelChange, NewModel, shown

_PATH: Final = "/console/models"
_MOST_UNCONFIGURED = 200
_LONGEST_NAME = 256
_BY_SETTING: Final = "the gateway's setting"
_AFFINITIES: Final = ("user", "prompt_cache_key", "header:x-session-id")
_STRATEGIES: Final = {
    "weighted_round_robin": "Weighted round robin: exact shares",
    "weighted_random": "Weighted random: shares on average",
    "least_busy": "Least busy: the fewest attempts in flight for its weight",
}
_TIMEOUTS: Final = (
    ("connect", "To connect", "To the provider."),
    ("first_content", "To the first content", "To the head of a whole reply, or a stream's first content."),
    ("idle", "Between pieces", "Of a stream."),
    ("total", "In total", "One attempt of a whole reply; never a stream's length."),
)
_RETRIES: Final = (
    ("max_retries", "Retries", "Further tries after the first attempt at each provider."),
    ("initial_backoff_ms", "First delay, in ms", ""),
    ("max_backoff_ms", "Longest delay, in ms", ""),
    ("backoff_factor", "Factor of delays", "Each delay is so many times the one before."),
    ("jitter", "Random part of a delay", "0.1 is a tenth."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentRoute:
    """How a request for a model would be routed now."""

    # None if it cannot be explained, for the reason in `problem`.
    explanation: Explanation | None
    problem: str | None
    shares: ModelShares | None


def _fields(services: ConsoleServices, row: StoredModel | None) -> Sequence[Field]:
    del services, row
    return (
        Field(
            name="name",
            label="Name",
            required=True,
            hint="The public name, as clients send it; no pattern.",
        ),
        Field(
            name="strategy",
            label="Strategy",
            kind="choice",
            options=tuple((name, _STRATEGIES.get(name, name)) for name in STRATEGIES),
        ),
        Field(
            name="weights",
            label="Weights",
            kind="number_pairs",
            placeholder="provider-key = weight",
            hint="One “provider = weight” a line, for this model alone. A provider that is not named keeps its own "
            "weight; 0 gives it no new requests.",
        ),
        Field(
            name="fallbacks",
            label="Fallbacks",
            kind="lines",
            hint="Models to try, in order, when all providers of this one have failed. One a line.",
        ),
        Field(
            name="context_fallbacks",
            label="Fallbacks for long requests",
            kind="lines",
            hint="Models to try, in order, when the request is too long for this one.",
        ),
        Field(
            name="policy_fallbacks",
            label="Fallbacks for rejected content",
            kind="lines",
            hint="Models to try, in order, when the provider's policy rejects the content.",
        ),
        Field(
            name="affinity",
            label="Affinity",
            placeholder="none",
            suggestions="affinities",
            hint="user, prompt_cache_key or header:<name>: requests with the same value prefer the same provider.",
        ),
        *number_fields("timeouts", "Timeouts, in seconds", _TIMEOUTS, _BY_SETTING),
        *number_fields("retry", "Retries", _RETRIES, _BY_SETTING),
        Field(
            name="retry.retry_cut",
            label="Retry when the connection is cut",
            kind="optional_flag",
            placeholder="Default (yes)",
            hint="After the request was sent and before any byte of the reply: the provider may have done the work.",
            group="Retries",
        ),
        *cache_fields("As the credential or a header says"),
    )


async def _states(services: ConsoleServices, rows: Sequence[StoredModel]) -> Sequence[Mapping[str, Any]]:
    snapshot = services.snapshots.current
    routes = [None if snapshot is None else snapshot.route(row.name) for row in rows]
    return [
        {"providers": [] if route is None else [one.provider_key for one in route.deployments]}
        for route in routes
    ]


def _overview(request: Request) -> Mapping[str, Any]:
    """Return the models that providers name and that have no settings."""
    search = (request.query_params.get("search") or "").strip().lower()
    found = [name for name in services_of(request).catalog.unconfigured_models() if search in name.lower()]
    return {
        "unconfigured": found[:_MOST_UNCONFIGURED],
        "further": max(len(found) - _MOST_UNCONFIGURED, 0),
    }


_PREVIEW: Final = SharePreview[StoredModel](lambda _, row: (row.name,))


def _blank(request: Request) -> Mapping[str, Any]:
    """Return the route of the model that a link names, which has no settings yet."""
    name = request.query_params.get("name", "")[:_LONGEST_NAME]
    return {
        "panel": ShownShares(is_preview=False),
        "route": route_now(services_of(request), name) if name else None,
    }


async def _detail(request: Request, row: StoredModel) -> Mapping[str, Any]:
    services = services_of(request)
    return {
        "panel": _PREVIEW.stored(services, row),
        "route": route_now(services, row.name),
    }


def route_now(services: ConsoleServices, model: str) -> CurrentRoute:
    """Return how a request for a model would be routed now."""
    snapshot = services.snapshots.current
    if snapshot is None:
        return CurrentRoute(explanation=None, problem="No configuration is loaded yet.", shares=None)
    try:
        found = services.explain(Question(model=model, endpoint=main_endpoint(snapshot, model)))
    except GatewayError as error:
        return CurrentRoute(explanation=None, problem=error.message, shares=None)
    spread = model_shares(found.routes[0], snapshot) if found.routes else None
    return CurrentRoute(explanation=found, problem=None, shares=spread)


PAGES: Final = ResourcePages(
    stored=StoredModel,
    path=_PATH,
    one="model",
    title="Models",
    about="A model is served as soon as a provider names it. Settings of a model say how its requests are spread, "
    "retried, passed on to other models, and cached.",
    empty="No model has settings of its own: each is spread by the weights of its providers.",
    new=NewModel,
    change=ModelChange,
    shown=shown,
    fields=_fields,
    list_template="catalog/models.html",
    form_template="catalog/model.html",
    defaults={"strategy": "weighted_round_robin"},
    state=_states,
    overview=_overview,
    suggestions=lambda _services: {"affinities": _AFFINITIES},
    blank=_blank,
    detail=_detail,
)
ROUTES: Final = [*_PREVIEW.routes(PAGES), *PAGES.routes()]
