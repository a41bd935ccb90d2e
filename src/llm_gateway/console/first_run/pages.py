"""What is left to do before the first request, and how clients connect."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_gateway.console.chat_models import chat_models
from llm_gateway.console.first_run.address import base_url
from llm_gateway.console.first_run.clients import ANY_MODEL, PLACEHOLDER, clients
from llm_gateway.console.first_run.facts import Facts, read_facts, steps
from llm_gateway.console.links import see_other
from llm_gateway.console.live import LiveStreams, SharedResult, digest
from llm_gateway.console.rendering import fragment, page
from llm_gateway.console.security import is_secure
from llm_gateway.console.services import services_of

_PATH: Final = "/console/first-run"
# Seconds between two looks, and how old the facts of a page may be that is opened.
_EVERY: Final = 2.0
_OPENED_AGE: Final = 0.2
_ALERTS_COOKIE: Final = "llm-gateway-alerts"
_CONFIRMED: Final = "confirmed"
_ONE_YEAR: Final = 365 * 24 * 3600


def first_run_routes(streams: LiveStreams) -> list[Route]:
    """Return the routes of the first run."""
    first_run = _FirstRun(streams)
    return [
        Route(_PATH, first_run.show, methods=["GET"]),
        Route(f"{_PATH}/live", first_run.follow, methods=["GET"]),
        Route(f"{_PATH}/alerts", confirm_alerts, methods=["POST"]),
    ]


class _FirstRun:
    """The page, and the facts that all who look at it share."""

    def __init__(self, streams: LiveStreams) -> None:
        self._streams = streams
        self._facts: SharedResult[Facts] | None = None

    async def show(self, request: Request) -> Response:
        facts = await self._read(request, _OPENED_AGE)
        live = _checklist(request, facts)
        recent = None if facts.answered is None else facts.answered.model
        models = chat_models(services_of(request).snapshots.current, recent)
        wanted = request.query_params.get("model")
        model = wanted if wanted in models else next(iter(models), None)
        return page(
            request,
            "first_run/page.html",
            live=live,
            seen=digest(live),
            base_url=base_url(request),
            models=models,
            model=model,
            clients=clients(base_url(request), model or ANY_MODEL),
            placeholder=PLACEHOLDER,
        )

    async def follow(self, request: Request) -> Response:
        async def render() -> str:
            return _checklist(request, await self._read(request, _EVERY))

        return self._streams.response(request, render, _EVERY)

    async def _read(self, request: Request, max_age: float) -> Facts:
        if self._facts is None:
            services = services_of(request)
            self._facts = SharedResult(lambda: read_facts(services))
        return await self._facts.get(max_age)


async def confirm_alerts(request: Request) -> Response:
    """Remember in this browser that there are alerts, which the gateway cannot know."""
    response = see_other(request, _PATH)
    response.set_cookie(
        _ALERTS_COOKIE,
        _CONFIRMED,
        max_age=_ONE_YEAR,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return response


def _checklist(request: Request, facts: Facts) -> str:
    is_confirmed = request.cookies.get(_ALERTS_COOKIE) == _CONFIRMED
    return fragment(
        request,
        "first_run/live.html",
        facts=facts,
        steps=steps(facts, alerts_confirmed=is_confirmed),
        alerts_confirmed=is_confirmed,
    )
