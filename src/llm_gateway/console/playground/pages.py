"""Chats through the gateway, as a credential."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from llm_gateway.console.chat_models import chat_models
from llm_gateway.console.forms.form import FilledForm
from llm_gateway.console.forms.reading import read_form
from llm_gateway.console.path_ids import ROW_ID
from llm_gateway.console.playground.form import FIELDS, chat_request
from llm_gateway.console.playground.reasons import reasons
from llm_gateway.console.playground.single_turn import ShownReply, ask
from llm_gateway.console.rendering import fragment, page
from llm_gateway.console.services import ConsoleServices, services_of
from llm_gateway.core.errors import GatewayError, NotFound, Unavailable
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.explain.answer import Explanation, Question
from llm_gateway.flow.usage_pages import find_request
from llm_gateway.http.types import Receive, Scope, Send, request_id_of

PATH: Final = "/console/playground"
# Models and credentials that the page offers; others can be typed, or given in its address.
_MOST_OFFERED = 200
_LONGEST_ID = 100
_ID_DIGITS = 18


class _Chat:
    """ASGI application of a chat as one credential; not a function, so that Starlette leaves the stream alone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        handler = services_of(request).chat_as(request.path_params["id"])
        await handler(scope, receive, send, request_id_of(scope))


async def show_playground(request: Request) -> Response:
    """Show the page. `?credential=ID&model=NAME` choose what it begins with."""
    query = request.query_params
    return await _page(
        request, FilledForm.of(FIELDS, {}), model=query.get("model", ""), credential=query.get("credential")
    )


async def take_turn(request: Request) -> Response:
    """Answer one message, for browsers without JavaScript."""
    sent = await read_form(request)
    form = FilledForm.sent(FIELDS, sent)
    body = chat_request(form, sent)
    credential = sent.get("credential", "")
    if not _is_id(credential):
        form.errors["credential"] = "Choose a credential."
    answer = None
    if body is not None and not form.errors:
        handler = services_of(request).chat_as(int(credential))
        headers = {"x-llm-gateway-cache": sent["cache"]} if sent.get("cache") else {}
        answer = await ask(handler, request, json.dumps(body | {"stream": False}).encode(), headers)
    return await _page(
        request,
        form,
        status=422 if form.errors else 200,
        model=sent.get("model", ""),
        credential=credential,
        system=sent.get("system", ""),
        prompt=sent.get("prompt", ""),
        answer=answer,
    )


async def show_request(request: Request) -> Response:
    """Return a fragment about a request that has ended: who answered it and why, and what it used.

    202 without one says that its usage row is not there yet.
    """
    facts = await _facts(request, request.path_params["request_id"], request.query_params.get("model"))
    if facts is None:
        return Response(status_code=202)
    return HTMLResponse(fragment(request, "playground/request.html", **facts))


async def _page(
    request: Request,
    form: FilledForm,
    *,
    model: str,
    credential: str | None,
    system: str = "",
    prompt: str = "",
    answer: ShownReply | None = None,
    status: int = 200,
) -> Response:
    services = services_of(request)
    snapshot = services.snapshots.current
    if snapshot is None:
        raise Unavailable("The gateway has no configuration yet: it could not read its database.")
    now = services.clock.unix_us()
    usable = [one for one in snapshot.catalog.credentials if one.why_refused(now) is None]
    usable.sort(key=lambda one: one.name)
    chosen = next((one for one in usable if str(one.id) == credential), usable[0] if usable else None)
    offered = usable[:_MOST_OFFERED]
    if chosen is not None and chosen not in offered:
        offered.append(chosen)
    models = snapshot.explicit_models[:_MOST_OFFERED]
    facts = None
    if answer is not None:
        facts = await _facts(request, request_id_of(request.scope), model)
    return page(
        request,
        "playground/page.html",
        status=status,
        form=form,
        credentials=offered,
        chosen=chosen,
        more_credentials=len(usable) - len(offered),
        models=models,
        has_models=bool(models or snapshot.wildcard_providers),
        model=model or next(iter(chat_models(snapshot)), ""),
        system=system,
        prompt=prompt,
        answer=answer,
        facts=facts,
    )


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS


async def _facts(request: Request, request_id: str, model: str | None) -> Mapping[str, Any] | None:
    """Return what is known of a request that has ended, None as long as it has no usage row."""
    services = services_of(request)
    if len(request_id) > _LONGEST_ID or "\0" in request_id:
        raise NotFound("There is no such request.")
    try:
        record, attempts = await find_request(services.usage, services.flush, request_id)
    except (NotFound, Unavailable):
        return None
    explanation = await _explanation(services, model or record.model, record)
    return {"record": record, "why": reasons(record, attempts, model, explanation)}


async def _explanation(
    services: ConsoleServices, model: str | None, record: UsageRecord
) -> Explanation | None:
    """Explain the route by the configuration that the request had; None if that cannot be done any more."""
    if model is None:
        return None
    question, version = Question(model=model, credential=record.credential), record.config_version
    snapshot = services.snapshots.current
    try:
        if version is None or (snapshot is not None and snapshot.version == version):
            return services.explain(question)
        return await services.explain_earlier(question, version)
    except GatewayError:
        return None


PLAYGROUND_ROUTES: Final = [
    Route(PATH, show_playground, methods=["GET"]),
    Route(PATH, take_turn, methods=["POST"]),
    Route(f"{PATH}/credentials/{ROW_ID}/chat/completions", _Chat(), methods=["POST"]),
    Route(f"{PATH}/requests/{{request_id}}", show_request, methods=["GET"]),
]
