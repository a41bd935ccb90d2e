"""Overview: whether requests are served, how fast, and by whom."""

from __future__ import annotations

from typing import Final

from llm_gateway.core import metric_catalogue as catalogue
from monitoring.dashboards.choices import INSTANCE, MODEL, OF_INSTANCE, OF_MODEL, PROVIDER
from monitoring.model import Dashboard, Panel, Query, Row, quantile, rate, total

# The gateway and its providers failed; 4xx are the client's, 499 left by itself. A broken stream has status 200.
_FAILED: Final = f'status_code=~"5..", {OF_MODEL}'
_FAILURES: Final = (
    f"(({rate(catalogue.REQUESTS, where=_FAILED)} or vector(0))"
    f" + ({rate(catalogue.BROKEN_STREAMS, where=OF_MODEL)} or vector(0)))"
)
_CALLED: Final = f'provider!="none", {OF_MODEL}'
_NO_REQUESTS: Final = "no requests"

_NUMBERS: Final = Row(
    title="Now",
    panels=(
        Panel(
            title="Requests per second",
            description="Finished requests of all endpoints, refused ones included.",
            unit="reqps",
            queries=(Query(rate(catalogue.REQUESTS, where=OF_MODEL), "requests"),),
            shape="number",
            width=4,
            height=4,
            no_value="0",
        ),
        Panel(
            title="Failed requests",
            description="Share of requests that ended with a 5xx status, or whose stream broke after it had begun.",
            unit="percentunit",
            queries=(Query(f"{_FAILURES} / {rate(catalogue.REQUESTS, where=OF_MODEL)}", "failed"),),
            shape="number",
            width=4,
            height=4,
            no_value="0 %",
            warn_from=0.01,
            alarm_from=0.05,
        ),
        Panel(
            title="Latency, P95",
            description="95 of 100 requests were answered within this time, up to the last byte of the reply.",
            unit="s",
            queries=(Query(quantile(0.95, catalogue.REQUEST_DURATION, where=OF_MODEL), "P95"),),
            shape="number",
            width=4,
            height=4,
            no_value=_NO_REQUESTS,
        ),
        Panel(
            title="Active requests",
            description="Requests in flight on all machines, open streams included.",
            unit="short",
            queries=(Query(total(catalogue.ACTIVE_REQUESTS, where=OF_INSTANCE), "active"),),
            shape="number",
            width=4,
            height=4,
        ),
        Panel(
            title="Tokens per second",
            description="Prompt and completion tokens together.",
            unit="short",
            queries=(
                Query(rate(catalogue.TOKENS, where=f'token_type=~"prompt|completion", {OF_MODEL}'), "tokens"),
            ),
            shape="number",
            width=4,
            height=4,
            no_value="0",
        ),
        Panel(
            title="Cost per hour",
            description="At the rate of this moment, of requests whose price is known.",
            unit="currencyUSD",
            queries=(Query(f"{rate(catalogue.COST, where=OF_MODEL)} * 3600", "USD per hour"),),
            shape="number",
            width=4,
            height=4,
            no_value="0",
        ),
    ),
)

_REQUESTS: Final = Row(
    title="Requests",
    panels=(
        Panel(
            title="Request rate by endpoint",
            description="Finished requests per second. A step down without a deployment is worth a look.",
            unit="reqps",
            queries=(Query(rate(catalogue.REQUESTS, "endpoint", where=OF_MODEL), "{{endpoint}}"),),
            no_value=_NO_REQUESTS,
        ),
        Panel(
            title="Status codes",
            description="401, 403: keys; 404: models; 429: limits; 499: the client left; 5xx: provider or gateway.",
            unit="reqps",
            queries=(Query(rate(catalogue.REQUESTS, "status_code", where=OF_MODEL), "{{status_code}}"),),
            shape="stack",
            no_value=_NO_REQUESTS,
        ),
        Panel(
            title="Active requests by instance",
            description="Requests in flight on each machine. A line that only rises means that requests do not end.",
            unit="short",
            queries=(Query(total(catalogue.ACTIVE_REQUESTS, "instance", where=OF_INSTANCE), "{{instance}}"),),
        ),
        Panel(
            title="Request rate by model",
            description="Finished requests per second, by public model; `other` are names that no provider lists.",
            unit="reqps",
            queries=(Query(rate(catalogue.REQUESTS, "model", where=OF_MODEL), "{{model}}"),),
            shape="stack",
            no_value=_NO_REQUESTS,
        ),
    ),
)

_LATENCY: Final = Row(
    title="Latency",
    panels=(
        Panel(
            title="Request duration",
            description="Time to the last byte of the reply. Long streams take long: compare with the first token.",
            unit="s",
            queries=tuple(
                Query(quantile(part, catalogue.REQUEST_DURATION, where=OF_MODEL), f"P{part * 100:g}")
                for part in (0.5, 0.95, 0.99)
            ),
            no_value=_NO_REQUESTS,
        ),
        Panel(
            title="Time to first token",
            description="Time to the first content of streamed replies: what users feel.",
            unit="s",
            queries=tuple(
                Query(quantile(part, catalogue.TIME_TO_FIRST_TOKEN, where=OF_MODEL), f"P{part * 100:g}")
                for part in (0.5, 0.95, 0.99)
            ),
            no_value="no streams",
        ),
    ),
)

_USE: Final = Row(
    title="Tokens and providers",
    panels=(
        Panel(
            title="Tokens by type",
            description="Cached tokens are part of the prompt's, reasoning tokens part of the completion's.",
            unit="short",
            queries=(Query(rate(catalogue.TOKENS, "token_type", where=OF_MODEL), "{{token_type}}"),),
            no_value="no tokens",
        ),
        Panel(
            title="Load by provider",
            description="Share of the requests that reached a provider. Compare it with the weights.",
            unit="percentunit",
            queries=(
                Query(
                    f"{rate(catalogue.REQUESTS, 'provider', where=_CALLED)} / ignoring (provider) group_left "
                    f"{rate(catalogue.REQUESTS, where=_CALLED)}",
                    "{{provider}}",
                ),
            ),
            shape="stack",
            no_value=_NO_REQUESTS,
        ),
    ),
)

OVERVIEW: Final = Dashboard(
    uid="llm-gateway-overview",
    title="LLM gateway: overview",
    description="Whether requests are served, how fast, and by whom.",
    variables=(PROVIDER, MODEL, INSTANCE),
    rows=(_NUMBERS, _REQUESTS, _LATENCY, _USE),
)
