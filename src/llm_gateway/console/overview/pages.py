"""What happens in the gateway now, and what happened before."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_gateway.console.live import LiveStreams, SharedResult, digest
from llm_gateway.console.overview.charts import charts, error_share, rounded_usd, unpriced_in_words
from llm_gateway.console.overview.ranges import DEFAULT, RANGES, Range
from llm_gateway.console.overview.report import Report, read_report
from llm_gateway.console.rendering import fragment, page
from llm_gateway.console.services import root_of, services_of
from llm_gateway.core.errors import NotFound
from llm_gateway.core.money import usd_text

_PATH = "/console/overview"
# Seconds that a page which is opened may be behind.
_OPENED_AGE = 0.5


def overview_routes(streams: LiveStreams) -> list[Route]:
    """Return the routes of the overview."""
    overview = _Overview(streams)
    return [
        Route(_PATH, overview.show, methods=["GET"]),
        Route(f"{_PATH}/live", overview.follow, methods=["GET"]),
    ]


class _Overview:
    """The page, and the report of each range that all who look at it share."""

    def __init__(self, streams: LiveStreams) -> None:
        self._streams = streams
        # By the names of ranges.
        self._reports: dict[str, SharedResult[Report]] = {}
        # By range and path prefix: the latest report, and its part of the page, which is the same for everyone.
        self._rendered: dict[tuple[str, str], tuple[Report, str]] = {}

    async def show(self, request: Request) -> Response:
        wanted = _range_of(request)
        live = await self._live(request, wanted, _OPENED_AGE)
        return page(
            request,
            "overview/page.html",
            ranges=RANGES.values(),
            range=wanted,
            live=live,
            seen=digest(live),
        )

    async def follow(self, request: Request) -> Response:
        wanted = _range_of(request)
        return self._streams.response(
            request, lambda: self._live(request, wanted, wanted.every), wanted.every
        )

    async def _live(self, request: Request, wanted: Range, max_age: float) -> str:
        """Return the part of the page that follows."""
        services = services_of(request)
        reports = self._reports.setdefault(wanted.name, SharedResult(lambda: read_report(services, wanted)))
        report = await reports.get(max_age)
        key = (wanted.name, root_of(request))
        known = self._rendered.get(key)
        if known is None or known[0] is not report:
            known = self._rendered[key] = report, _render(request, report)
        return known[1]


def _range_of(request: Request) -> Range:
    name = request.query_params.get("range")
    if not name:
        return DEFAULT
    if name not in RANGES:
        raise NotFound(f"There is no range {name[:20]!r}. Choose one of {', '.join(RANGES)}.")
    return RANGES[name]


def _render(request: Request, report: Report) -> str:
    return fragment(
        request,
        "overview/live.html",
        report=report,
        total=report.total.values,
        charts=charts(report),
        error_share=error_share(report.total),
        recent_cost=_recent_cost(report),
        rounded_usd=rounded_usd,
        first_label=report.points[0].name,
        last_label=report.points[-1].name,
        unpriced=unpriced_in_words,
        ok_share=_ok_share(report),
    )


def _ok_share(report: Report) -> float | None:
    recent = report.recent
    return recent.ok / recent.requests if recent.requests else None


def _recent_cost(report: Report) -> str | None:
    """Return the known cost as decimal USD; None if there are requests, and none has a known cost."""
    nano_usd = report.recent.cost_nano_usd
    return None if not nano_usd and report.recent.unpriced else usd_text(nano_usd)
