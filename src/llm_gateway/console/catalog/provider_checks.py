"""Tries a provider out: one tiny request, and the models that it lists."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_gateway.console.catalog.providers import PAGES, PATH
from llm_gateway.console.editing.resource_pages import REFUSALS, done_at
from llm_gateway.console.forms.reading import read_form
from llm_gateway.console.path_ids import ROW_ID
from llm_gateway.console.rendering import page
from llm_gateway.console.services import services_of
from llm_gateway.core.errors import BadRequest, GatewayError, Unprocessable
from llm_gateway.flow.config.editor import EditOptions
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider

_MOST_MODELS = 200
_LONGEST_NAME = 256
_EVERYTHING: Final = {"*": "*"}


async def _test(request: Request) -> Response:
    """Send one tiny request and show what came back."""
    services, row = services_of(request), await PAGES.find(request)
    asked = (await read_form(request)).get("model", "").strip()[:_LONGEST_NAME]
    result, problem = None, None
    try:
        opened = await services.catalog.open_provider(row.id)
        result = await services.tester.test(opened, asked or None)
    except Unprocessable as error:
        problem = error.message
    more = {"test": result, "test_problem": problem, "asked_model": asked}
    return await PAGES.form_page(request, PAGES.stored_form(request, row), row, more=more)


async def _offered(request: Request) -> Response:
    """Ask the provider for its models and show them."""
    row = await PAGES.find(request)
    search = (await read_form(request)).get("search", "").strip()[:_LONGEST_NAME]
    return await _offered_page(request, row, search)


async def _offered_page(
    request: Request, row: StoredProvider, search: str, refused: GatewayError | None = None
) -> Response:
    services = services_of(request)
    models, problem = [], None if refused is None else refused.message
    if refused is None:
        try:
            models = await services.tester.models(await services.catalog.open_provider(row.id))
        except GatewayError as error:
            # What the provider answers is shown; this page works.
            problem = error.message
    found = [one for one in models if search.lower() in one.name.lower()]
    return page(
        request,
        "catalog/provider_offers.html",
        status=200 if refused is None else refused.status,
        pages=PAGES,
        row=PAGES.values(services, row),
        problem=problem,
        search=search,
        models=found[:_MOST_MODELS],
        further=max(len(found) - _MOST_MODELS, 0),
        count=len(models),
    )


async def _add(request: Request) -> Response:
    """Add a model that the provider lists to its mapping, which otherwise stays as it is."""
    services = services_of(request)
    form = await read_form(request)
    await PAGES.find(request)
    stored = await services.catalog.get(StoredProvider, request.path_params["id"])
    row, upstream = stored.value, form.get("upstream", "").strip()
    public = form.get("public", "").strip() or upstream
    try:
        if not isinstance(row.model_mapping, dict):
            raise Unprocessable("The models that are stored cannot be read. Set them in the form first.")
        if not upstream or max(len(public), len(upstream)) > _LONGEST_NAME or not public.isprintable():
            raise BadRequest("Type a public name of at most 256 printable characters.")
        mapping = {**(row.model_mapping or _EVERYTHING), public: upstream}
        edited = await services.editor.update(
            row.id, ProviderUpdate(model_mapping=mapping), EditOptions(if_match=frozenset({stored.version}))
        )
    except (BadRequest, *REFUSALS) as error:
        return await _offered_page(request, row, "", error)
    return done_at(request, f"{PATH}/{row.id}", edited, "changed")


ROUTES: Final = [
    Route(f"{PATH}/{ROW_ID}/test", _test, methods=["POST"]),
    Route(f"{PATH}/{ROW_ID}/offers", _offered, methods=["POST"]),
    Route(f"{PATH}/{ROW_ID}/models", _add, methods=["POST"]),
]
