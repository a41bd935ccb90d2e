"""The pages that every resource has: list, new, change, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_gateway.console.editing.row_edits import RowChanged, edit_as_opened
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.forms.form import FilledForm
from llm_gateway.console.forms.reading import read_form
from llm_gateway.console.links import see_other
from llm_gateway.console.path_ids import ROW_ID
from llm_gateway.console.rendering import page
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.core.errors import Conflict, GatewayError, NotFound, PreconditionFailed, Unprocessable
from llm_gateway.flow.config.editor import Edited
from llm_gateway.flow.config.rows.base import Row
from llm_gateway.flow.config.rows.store import Versioned
from llm_gateway.flow.paging import ID_LIMIT
from llm_gateway.resources.shapes import UpdateBody

PAGE_SIZE = 50
# What a write is refused with, shown beside the field.
REFUSALS = (Conflict, NotFound, PreconditionFailed, Unprocessable)


def done_at(request: Request, path: str, edited: Edited[Any], done: str, **query: object) -> Response:
    """Redirect to a page that says what was done, and whether all workers of this machine have it."""
    return see_other(request, path, done=done, behind="yes" if edited.stale_workers else None, **query)


def _done(request: Request) -> Mapping[str, Any]:
    query = request.query_params
    return {"done": query.get("done"), "is_behind": "behind" in query}


async def _nothing(_request: Request, _row: Row) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePages(Generic[Row]):
    """One resource: its rows, its forms, and what its pages say."""

    stored: type[Row]
    # Of the list: "/console/tenants".
    path: str
    # "tenant" and "Tenants".
    one: str
    title: str
    # What the resource is, in a sentence or two.
    about: str
    # What an empty list says: why there should be one, and what to do.
    empty: str
    new: type[UpdateBody]
    change: type[UpdateBody]
    # Returns the values of a row as the admin API shows it: the row, and its warnings.
    shown: Callable[[Row, list[str]], dict[str, Any]]
    fields: Callable[[ConsoleServices, Row | None], Sequence[Field]]
    # The templates of the list's table and of what stands beside a form; they extend those of this folder.
    list_template: str
    form_template: str = "catalog/form.html"
    delete_template: str = "catalog/delete.html"
    # Values of a new form.
    defaults: Mapping[str, Any]
    # Returns what fields suggest, by the names that the fields have for it.
    suggestions: Callable[[ConsoleServices], Mapping[str, Iterable[str]]] = lambda _services: {}
    # Returns further values of each row of a list, which templates find as `row.state`.
    state: Callable[[ConsoleServices, Sequence[Row]], Awaitable[Sequence[Mapping[str, Any]]]] | None = None
    # Return further values, which templates find as `more`: for the list, for the form of a new row, for the page of
    # one row, and for the page that asks whether to delete it.
    overview: Callable[[Request], Mapping[str, Any]] = lambda _request: {}
    blank: Callable[[Request], Mapping[str, Any]] = lambda _request: {}
    detail: Callable[[Request, Row], Awaitable[Mapping[str, Any]]] = _nothing
    deletion: Callable[[ConsoleServices, Row], Mapping[str, Any]] = lambda _services, _row: {}
    # Makes the page of a write that shows something once; None = back to the list.
    written: Callable[[Request, Edited[Row]], Response | None] = lambda _request, _edited: None

    def routes(self) -> list[Route]:
        """Return the routes. Those of single rows follow those with fixed names."""
        return [
            Route(self.path, self.list_page, methods=["GET"]),
            Route(f"{self.path}/new", self.new_page, methods=["GET"]),
            Route(f"{self.path}/new", self.create, methods=["POST"]),
            Route(f"{self.path}/{ROW_ID}", self.change_page, methods=["GET"]),
            Route(f"{self.path}/{ROW_ID}", self.update, methods=["POST"]),
            Route(f"{self.path}/{ROW_ID}/delete", self.delete_page, methods=["GET"]),
            Route(f"{self.path}/{ROW_ID}/delete", self.delete, methods=["POST"]),
        ]

    async def list_page(self, request: Request) -> Response:
        services = services_of(request)
        search, cursor = request.query_params.get("search") or None, request.query_params.get("cursor")
        found = (await services.catalog.page(self.stored, cursor, PAGE_SIZE, search)).value
        states: Sequence[Mapping[str, Any]] = [{}] * len(found.items)
        if self.state is not None:
            states = await self.state(services, found.items)
        rows = [
            self.values(services, row) | {"state": state}
            for row, state in zip(found.items, states, strict=True)
        ]
        return page(
            request,
            self.list_template,
            pages=self,
            rows=rows,
            search=search or "",
            next_cursor=found.next_cursor,
            is_first=cursor is None,
            **_done(request),
            cursor=cursor,
            more=self.overview(request),
        )

    def values(self, services: ConsoleServices, row: Row) -> dict[str, Any]:
        """Return a row as templates show it, with its faults and warnings."""
        warnings = services.catalog.warnings(row)
        return {"warnings": warnings} | self.shown(row, warnings) | {"faults": services.catalog.faults(row)}

    async def new_page(self, request: Request) -> Response:
        """Show an empty form; a link to it may fill in fields by their names."""
        form = FilledForm.of(self.fields(services_of(request), None), self.defaults)
        form.fill_in(request.query_params)
        return await self.form_page(request, form, None)

    async def create(self, request: Request) -> Response:
        services = services_of(request)
        sent = await read_form(request)
        form = FilledForm.sent(self.fields(services, None), sent)
        body = form.body(self.new, sent, is_new=True)
        if body is None:
            return await self.form_page(request, form, None, status=422)
        try:
            edited: Edited[Row] = await services.editor.create(body.update())
        except REFUSALS as error:
            form.refuse(error)
            return await self.form_page(request, form, None, status=error.status)
        return self.answer(request, edited, "created")

    async def change_page(self, request: Request) -> Response:
        row = await self.find(request)
        return await self.form_page(request, self.stored_form(request, row), row)

    def stored_form(self, request: Request, row: Row) -> FilledForm:
        """Return the form filled with a row as it is stored."""
        return FilledForm.of(self.fields(services_of(request), row), self.shown(row, []))

    async def update(self, request: Request) -> Response:
        """Change the row, unless it has changed since the form was opened."""
        services = services_of(request)
        row = await self.find(request)
        sent = await read_form(request)
        form = FilledForm.sent(self.fields(services, row), sent)
        body = form.body(self.change, sent)
        opened_at = sent.get("updated_at")
        if body is None:
            return await self.form_page(request, form, row, status=422, based_on=opened_at)
        update = body.update()
        try:
            edited: Edited[Row] = await edit_as_opened(
                lambda: self.find_versioned(request),
                opened_at,
                lambda found, options: services.editor.update(found.id, update, options),
            )
        except RowChanged as error:
            form.refuse(error)
            row = await self.find(request)
            stored = self.stored_form(request, row)
            return await self.form_page(request, form, row, status=error.status, stored=stored)
        except REFUSALS as error:
            form.refuse(error)
            return await self.form_page(request, form, row, status=error.status, based_on=opened_at)
        return self.answer(request, edited, "changed")

    def answer(self, request: Request, edited: Edited[Row], done: str) -> Response:
        """Return the response to a write: the page of `written`, or the list, which says what was done."""
        return self.written(request, edited) or done_at(request, self.path, edited, done)

    async def delete_page(self, request: Request) -> Response:
        return await self._delete_page(request, await self.find(request))

    async def delete(self, request: Request) -> Response:
        """Delete the row, unless it has changed since the page was opened."""
        editor = services_of(request).editor
        sent = await read_form(request)
        try:
            edited: Edited[Row] = await edit_as_opened(
                lambda: self.find_versioned(request),
                sent.get("updated_at"),
                lambda found, options: editor.delete(self.stored, found.id, options),
            )
        except REFUSALS as error:
            return await self._delete_page(request, await self.find(request), error)
        return done_at(request, self.path, edited, "deleted")

    async def _delete_page(self, request: Request, row: Row, problem: GatewayError | None = None) -> Response:
        services = services_of(request)
        return page(
            request,
            self.delete_template,
            status=200 if problem is None else problem.status,
            pages=self,
            row=self.values(services, row),
            label=row.name_or_key,
            updated_at=str(row.updated_at),
            problem=None if problem is None else problem.message,
            more=self.deletion(services, row),
        )

    async def find(self, request: Request) -> Row:
        """Return the row that the path names; raise NotFound."""
        return (await self.find_versioned(request)).value

    async def find_versioned(self, request: Request) -> Versioned[Row]:
        """Return the row that the path names, and the version of the configuration; raise NotFound."""
        row_id: int = request.path_params["id"]
        if row_id > ID_LIMIT:
            raise NotFound(f"There is no {self.one} {row_id}.")
        return await services_of(request).catalog.get(self.stored, row_id)

    async def form_page(
        self,
        request: Request,
        form: FilledForm,
        row: Row | None,
        *,
        status: int = 200,
        more: Mapping[str, Any] | None = None,
        based_on: str | None = None,
        stored: FilledForm | None = None,
    ) -> Response:
        """Return the page of a form.

        `more` goes before what `blank` and `detail` return; `based_on` is the `updated_at` that the form was opened
        with, by default that of `row`. Where `stored` differs from the form, the page shows it, too.
        """
        services = services_of(request)
        found = self.blank(request) if row is None else await self.detail(request, row)
        return page(
            request,
            self.form_template,
            status=status,
            pages=self,
            form=form,
            row=None if row is None else self.values(services, row),
            label=None if row is None else row.name_or_key,
            updated_at=based_on or (None if row is None else str(row.updated_at)),
            stored=stored,
            **_done(request),
            more={"suggestions": self.suggestions(services), **found, **(more or {})},
        )
