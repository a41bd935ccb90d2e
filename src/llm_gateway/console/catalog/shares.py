"""The shares of requests that the values in a form would lead to, shown before they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Generic

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from llm_gateway.console.editing.resource_pages import REFUSALS, ResourcePages
from llm_gateway.console.forms.form import FilledForm
from llm_gateway.console.forms.reading import read_form
from llm_gateway.console.path_ids import ROW_ID
from llm_gateway.console.rendering import fragment
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.flow.config.editor import Edited, EditOptions
from llm_gateway.flow.config.rows.base import Row
from llm_gateway.flow.explain.answer import ExplainedRoute
from llm_gateway.flow.explain.shares import ANY_OTHER, RequestShare, shares

_STRATEGIES: Final = {
    "weighted_random": "On average: each request is drawn.",
    "least_busy": "While all are equally busy: the least busy one is preferred.",
}
_MOST_MODELS = 20
_MOST_PROVIDERS = 20
_DRY_RUN = EditOptions(dry_run=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShares:
    """The shares of one public model."""

    model: str
    # The name stands for all that nothing names.
    is_any_other: bool
    shares: Sequence[RequestShare]
    # Providers beyond those.
    further: int
    # What the shares depend on, in sentences.
    notes: Sequence[str]

    def of(self, provider: str) -> RequestShare | None:
        """Return the share of one provider."""
        return next((one for one in self.shares if one.provider == provider), None)

    def others(self, provider: str) -> Sequence[RequestShare]:
        """Return the shares of the others."""
        return [one for one in self.shares if one.provider != provider]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownShares:
    """The shares that a form shows."""

    # Of values that are not stored.
    is_preview: bool
    # The provider that the form is about, if it is about one.
    provider: str | None = None
    models: Sequence[ModelShares] = ()
    # Models beyond those.
    further: int = 0
    # Why there are none.
    problems: Sequence[str] = ()


def model_shares(route: ExplainedRoute, snapshot: Snapshot) -> ModelShares:
    """Return the shares of a route, as a page shows them."""
    found = shares(route, snapshot)
    notes = [_STRATEGIES[route.strategy]] if route.strategy in _STRATEGIES else []
    if route.affinity is not None:
        notes.append(f"Over many values of {route.affinity}: equal ones stay with one provider.")
    if route.panic:
        notes.append("Over half of the circuit breakers are open, so they are ignored.")
    return ModelShares(
        model=route.model,
        is_any_other=route.model == ANY_OTHER,
        shares=found[:_MOST_PROVIDERS],
        further=max(len(found) - _MOST_PROVIDERS, 0),
        notes=notes,
    )


class SharePreview(Generic[Row]):
    """The shares of the models that a row is about: as it is stored, and as it stands in its form."""

    def __init__(
        self,
        models: Callable[[Snapshot, Row], Iterable[str]],
        provider: Callable[[Row], str | None] = lambda _: None,
    ) -> None:
        """`models` returns the public models that a row of a snapshot is about."""
        self._models = models
        self._provider = provider

    def routes(self, pages: ResourcePages[Row]) -> list[Route]:
        """Return the routes below those of the row."""

        async def preview(request: Request) -> Response:
            return await self._preview(pages, request)

        return [
            Route(f"{pages.path}/shares", preview, methods=["POST"]),
            Route(f"{pages.path}/{ROW_ID}/shares", preview, methods=["POST"]),
        ]

    def stored(self, services: ConsoleServices, row: Row) -> ShownShares:
        """Return the shares in force now."""
        snapshot = services.snapshots.current
        if snapshot is None:
            return ShownShares(is_preview=False)
        return self._panel(services, snapshot, row, is_preview=False)

    async def _preview(self, pages: ResourcePages[Row], request: Request) -> Response:
        services = services_of(request)
        row = await pages.find(request) if "id" in request.path_params else None
        sent = await read_form(request)
        form = FilledForm.sent(pages.fields(services, row), sent)
        panel = await self._sent(pages, services, row, form, sent)
        if request.query_params.get("part"):
            return HTMLResponse(fragment(request, "catalog/shares.html", panel=panel))
        form.ask_again()
        based_on = sent.get("updated_at")
        return await pages.form_page(request, form, row, more={"panel": panel}, based_on=based_on)

    async def _sent(
        self,
        pages: ResourcePages[Row],
        services: ConsoleServices,
        row: Row | None,
        form: FilledForm,
        sent: Mapping[str, str],
    ) -> ShownShares:
        """Return the shares that the form would lead to; what is wrong with it is in the form, too."""
        body = form.body(pages.new if row is None else pages.change, sent, is_new=row is None)
        if body is not None:
            try:
                edited: Edited[Row]
                if row is None:
                    edited = await services.editor.create(body.update(), _DRY_RUN)
                else:
                    edited = await services.editor.update(row.id, body.update(), _DRY_RUN)
            except REFUSALS as error:
                form.refuse(error)
            else:
                snapshot = edited.snapshot or services.snapshots.current
                if snapshot is not None:
                    return self._panel(services, snapshot, edited.row, is_preview=True)
        labels = {one.name: one.label for one in form.fields}
        problems = [f"{labels[name]}: {text}" if name else text for name, text in form.errors.items()]
        return ShownShares(is_preview=True, problems=problems)

    def _panel(
        self, services: ConsoleServices, snapshot: Snapshot, row: Row, *, is_preview: bool
    ) -> ShownShares:
        models = iter(self._models(snapshot, row))
        shown = [
            model_shares(services.explain_route(snapshot, model), snapshot)
            for model in islice(models, _MOST_MODELS)
        ]
        return ShownShares(
            is_preview=is_preview,
            provider=self._provider(row),
            models=shown,
            further=sum(1 for _ in models),
        )
