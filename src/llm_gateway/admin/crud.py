"""The routes that every resource of the catalog has: create, list, get, change and delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel

from llm_gateway.admin.filters import PAGE_SIZE, Cursor, Limit, Search
from llm_gateway.admin.services import AdminServices, Services
from llm_gateway.admin.write_options import Options, set_etag
from llm_gateway.core.errors import Unprocessable
from llm_gateway.flow.config.editor import Edited
from llm_gateway.flow.config.rows.base import Row
from llm_gateway.resources.shapes import Deleted, UpdateBody, outcome, read_id, read_ref

NOT_FOUND = {"description": "There is no such row."}
_CONFLICT = {"description": "The name or the key is taken, or other rows name the row."}
_PRECONDITION_FAILED = {"description": "The configuration has another version than If-Match names."}
CHANGE_RESPONSES: dict[int | str, dict[str, Any]] = {
    404: NOT_FOUND,
    409: _CONFLICT,
    412: _PRECONDITION_FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Crud(Generic[Row]):
    """One resource: its schemas, and what its documentation says."""

    stored: type[Row]
    # Names the path's parameter and, in the plural, the list: "provider".
    name: str
    new: type[UpdateBody]
    change: type[UpdateBody]
    view: type[BaseModel]
    written: type[BaseModel]
    page: type[BaseModel]
    # Returns the values of a view: the row, and its warnings.
    shown: Callable[[Row, list[str]], dict[str, Any]]
    # Returns further values of each row that is read, and not only stored; None = there are none.
    state: Callable[[AdminServices, Sequence[Row]], Awaitable[Sequence[Mapping[str, Any]]]] | None = None
    # Names may stand for ids, and may hold slashes.
    by_name: bool = True
    with_slashes: bool = False
    # One sentence for each of "create", "list", "get", "change" and "delete".
    docs: Mapping[str, str]

    def ref(self, text: str) -> int | str:
        """Return the id, or the name, in a path; raise NotFound when it can be neither."""
        return (read_ref if self.by_name else read_id)(text, self.stored.resource)

    def answer(self, edited: Edited[Row], services: AdminServices, response: Response) -> BaseModel:
        """Return the answer to a write that left a row."""
        set_etag(response, edited.stored_version)
        warnings = [*edited.warnings, *services.catalog.warnings(edited.row, edited.snapshot)]
        return self.written(**self.shown(edited.row, warnings), **outcome(edited))

    async def read_page(
        self,
        services: AdminServices,
        response: Response,
        *,
        cursor: str | None,
        limit: int,
        search: str | None,
    ) -> dict[str, Any]:
        """Return the values of one page."""
        found = await services.catalog.page(self.stored, cursor, limit, search)
        set_etag(response, found.version)
        views = await self._views(found.value.items, services)
        return {"data": views, "next_cursor": found.value.next_cursor}

    async def _views(self, rows: Sequence[Row], services: AdminServices) -> list[BaseModel]:
        states = [{}] * len(rows) if self.state is None else await self.state(services, rows)
        return [self._view(row, services, state) for row, state in zip(rows, states, strict=True)]

    def _view(self, row: Row, services: AdminServices, state: Mapping[str, Any]) -> BaseModel:
        values = self.shown(row, services.catalog.warnings(row)) | dict(state)
        faults = services.catalog.faults(row)
        return self.view(**values, faults=faults) if faults else self.view(**values)

    def add_to(self, router: APIRouter, *, with_list: bool = True) -> None:
        """Add the routes to `router`, whose prefix is the list's path."""
        path = "/{" + self.name + (":path}" if self.with_slashes else "}")
        self._add_create(router)
        if with_list:
            self._add_list(router)
        self._add_get(router, path)
        self._add_change(router, path)
        self._add_delete(router, path)

    def _add_create(self, router: APIRouter) -> None:
        async def create(body: Any, services: Services, options: Options, response: Response) -> BaseModel:  # noqa: ANN401
            body.check_new()
            edited: Edited[Row] = await services.editor.create(body.update(), options)
            if edited.dry_run:
                response.status_code = 200
            return self.answer(edited, services, response)

        router.add_api_route(
            "",
            _annotated(create, body=self.new),
            methods=["POST"],
            status_code=201,
            response_model=self.written,
            response_model_exclude_unset=True,
            responses={
                200: {"description": "A dry run: nothing was created.", "model": self.written},
                409: _CONFLICT,
                412: _PRECONDITION_FAILED,
            },
            name=f"create_{self.name}",
            description=self.docs["create"],
        )

    def _add_list(self, router: APIRouter) -> None:
        async def list_rows(
            services: Services,
            response: Response,
            cursor: Cursor = None,
            limit: Limit = PAGE_SIZE,
            search: Search = None,
        ) -> BaseModel:
            values = await self.read_page(services, response, cursor=cursor, limit=limit, search=search)
            return self.page(**values)

        router.add_api_route(
            "",
            list_rows,
            methods=["GET"],
            response_model=self.page,
            response_model_exclude_unset=True,
            name=f"list_{self.name}s",
            description=self.docs["list"],
        )

    def _add_get(self, router: APIRouter, path: str) -> None:
        async def get(ref: str, services: Services, response: Response) -> BaseModel:
            found = await services.catalog.get(self.stored, self.ref(ref))
            set_etag(response, found.version)
            return (await self._views([found.value], services))[0]

        router.add_api_route(
            path,
            _annotated(get, ref=self._path_parameter()),
            methods=["GET"],
            response_model=self.view,
            response_model_exclude_unset=True,
            name=f"get_{self.name}",
            description=self.docs["get"],
        )

    def _add_change(self, router: APIRouter, path: str) -> None:
        async def change(
            ref: str,
            body: Any,  # noqa: ANN401 - set below
            services: Services,
            options: Options,
            response: Response,
        ) -> BaseModel:
            row = self.ref(ref)
            if fixed := body.fixed():
                found = (await services.catalog.get(self.stored, row)).value
                for name, value in fixed.items():
                    if getattr(found, name) != value:
                        raise Unprocessable(
                            f"{name}: is set by the gateway and cannot be changed", param=name
                        )
            edited: Edited[Row] = await services.editor.update(row, body.update(), options)
            return self.answer(edited, services, response)

        for method in ("PUT", "PATCH"):
            router.add_api_route(
                path,
                _annotated(change, ref=self._path_parameter(), body=self.change),
                methods=[method],
                response_model=self.written,
                response_model_exclude_unset=True,
                responses=CHANGE_RESPONSES,
                name=f"change_{self.name}",
                description=self.docs["change"],
            )

    def _add_delete(self, router: APIRouter, path: str) -> None:
        async def delete(ref: str, services: Services, options: Options, response: Response) -> Deleted:
            edited = await services.editor.delete(self.stored, self.ref(ref), options)
            set_etag(response, edited.stored_version)
            return Deleted(id=edited.row.id, deleted=not edited.dry_run, **outcome(edited))

        router.add_api_route(
            path,
            _annotated(delete, ref=self._path_parameter()),
            methods=["DELETE"],
            response_model=Deleted,
            response_model_exclude_unset=True,
            responses=CHANGE_RESPONSES,
            name=f"delete_{self.name}",
            description=self.docs["delete"],
        )

    def _path_parameter(self) -> Any:  # noqa: ANN401 - an annotation
        return Annotated[str, Path(alias=self.name)]


def _annotated(endpoint: Callable[..., Any], **annotations: Any) -> Callable[..., Any]:  # noqa: ANN401 - types
    """Give parameters of `endpoint` the types that FastAPI reads: those of the resource at hand."""
    endpoint.__annotations__.update(annotations)
    return endpoint
