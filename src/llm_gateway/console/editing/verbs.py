"""What is done to a row besides changing its fields: a page that says what will happen, and the deed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_gateway.console.editing.resource_pages import REFUSALS, ResourcePages
from llm_gateway.console.editing.row_edits import edit_as_opened
from llm_gateway.console.forms.fields import Field
from llm_gateway.console.forms.form import FilledForm
from llm_gateway.console.forms.reading import read_form
from llm_gateway.console.path_ids import ROW_ID
from llm_gateway.console.rendering import page
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.flow.config.editor import Edited, EditOptions
from llm_gateway.flow.config.rows.base import Row
from llm_gateway.resources.shapes import Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb(Generic[Row]):
    """One verb, at the end of a row's path: "revoke"."""

    pages: ResourcePages[Row]
    name: str
    # "Revoke the key", and "revoked", which the list says of the row afterwards.
    title: str
    done: str
    is_dangerous: bool = False
    # What will happen, in sentences.
    says: Callable[[ConsoleServices, Row], Sequence[str]]
    fields: Sequence[Field] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    body: type[Body] = Body
    run: Callable[[ConsoleServices, Row, Any, EditOptions], Awaitable[Edited[Row]]]

    def routes(self) -> list[Route]:
        """Return the routes of the page and of its form."""
        path = f"{self.pages.path}/{ROW_ID}/{self.name}"
        return [
            Route(path, self.show, methods=["GET"]),
            Route(path, self.act, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        return self._page(request, await self.pages.find(request), FilledForm.of(self.fields, self.defaults))

    async def act(self, request: Request) -> Response:
        """Do it, unless the row has changed since the page was shown: a form that is sent again does nothing."""
        services = services_of(request)
        sent = await read_form(request)
        form = FilledForm.sent(self.fields, sent)
        body = form.body(self.body, sent)
        row = await self.pages.find(request)
        if body is None:
            return self._page(request, row, form, status=422)
        try:
            edited = await edit_as_opened(
                lambda: self.pages.find_versioned(request),
                sent.get("updated_at"),
                lambda found, options: self.run(services, found, body, options),
            )
        except REFUSALS as error:
            form.refuse(error)
            return self._page(request, await self.pages.find(request), form, status=error.status)
        return self.pages.answer(request, edited, self.done)

    def _page(self, request: Request, row: Row, form: FilledForm, *, status: int = 200) -> Response:
        return page(
            request,
            "catalog/verb.html",
            status=status,
            pages=self.pages,
            verb=self,
            form=form,
            sentences=self.says(services_of(request), row),
            id=row.id,
            label=row.name_or_key,
            updated_at=str(row.updated_at),
        )
