"""Providers: which of them are well, how fast they are, and what is done about their failures."""

from __future__ import annotations

from typing import Final

from llm_gateway.core import metric_catalogue as catalogue
from monitoring.dashboards.choices import INSTANCE, MODEL, OF_MODEL, OF_PROVIDER, PROVIDER
from monitoring.model import Dashboard, Panel, Query, Row, quantile, rate

_CALLED: Final = f'provider!="none", {OF_MODEL}'
_NO_FAILURES: Final = "no failures"

_HEALTH: Final = Row(
    title="Health",
    panels=(
        Panel(
            title="Health",
            description="1: the last request or probe was answered. 0: it was unreachable, or answered 401 or 5xx.",
            unit="short",
            queries=(
                Query(
                    f"min by (provider) ({catalogue.PROVIDER_HEALTH.name}{{{OF_PROVIDER}}})", "{{provider}}"
                ),
            ),
            no_value="nothing was sent to a provider yet",
        ),
        Panel(
            title="Open circuit breakers",
            description="Deployments that get no requests because they failed. They are tried again by themselves.",
            unit="short",
            queries=(
                Query(f"sum by (provider) ({catalogue.OPEN_BREAKERS.name}{{{OF_PROVIDER}}})", "{{provider}}"),
            ),
            no_value="0",
        ),
        Panel(
            title="Breaker openings",
            description="Per second. One that opens again and again flaps: its provider is neither up nor down.",
            unit="ops",
            queries=(Query(rate(catalogue.BREAKER_OPENINGS, "provider", where=OF_PROVIDER), "{{provider}}"),),
            no_value="0",
        ),
        Panel(
            title="Failed attempts by reason",
            description="account: the provider refuses the operator's key; unserved: it has no such model.",
            unit="ops",
            queries=(
                Query(
                    rate(catalogue.FAILED_ATTEMPTS, "provider", "reason", where=OF_PROVIDER),
                    "{{provider}} {{reason}}",
                ),
            ),
            shape="stack",
            no_value=_NO_FAILURES,
        ),
    ),
)

_SPEED: Final = Row(
    title="Speed",
    panels=(
        Panel(
            title="Latency, P50",
            description="Time that each provider takes for its whole reply.",
            unit="s",
            queries=(
                Query(
                    quantile(0.5, catalogue.PROVIDER_LATENCY, "provider", where=OF_PROVIDER), "{{provider}}"
                ),
            ),
            no_value="no replies",
        ),
        Panel(
            title="Latency, P95",
            description="Time that each provider takes for its whole reply.",
            unit="s",
            queries=(
                Query(
                    quantile(0.95, catalogue.PROVIDER_LATENCY, "provider", where=OF_PROVIDER), "{{provider}}"
                ),
            ),
            no_value="no replies",
        ),
        Panel(
            title="Time to first token, P95, by provider",
            description="From the request to the first content of a streamed reply, failovers included.",
            unit="s",
            queries=(
                Query(
                    quantile(0.95, catalogue.TIME_TO_FIRST_TOKEN, "provider", where=OF_MODEL), "{{provider}}"
                ),
            ),
            no_value="no streams",
        ),
        Panel(
            title="Time to first token, P95, by model",
            description="From the request to the first content of a streamed reply, failovers included.",
            unit="s",
            queries=(
                Query(quantile(0.95, catalogue.TIME_TO_FIRST_TOKEN, "model", where=OF_MODEL), "{{model}}"),
            ),
            no_value="no streams",
        ),
    ),
)

_RECOVERY: Final = Row(
    title="Traffic and recovery",
    panels=(
        Panel(
            title="Requests by provider",
            description="By the provider that answered, or that failed last.",
            unit="reqps",
            queries=(Query(rate(catalogue.REQUESTS, "provider", where=_CALLED), "{{provider}}"),),
            shape="stack",
            no_value="no requests",
        ),
        Panel(
            title="Failed requests by provider",
            description="5xx although other deployments were tried, and streams that broke after they had begun.",
            unit="reqps",
            queries=(
                Query(
                    rate(
                        catalogue.REQUESTS,
                        "provider",
                        "status_code",
                        where=f'status_code=~"5..", {_CALLED}',
                    ),
                    "{{provider}} {{status_code}}",
                ),
                Query(
                    rate(catalogue.BROKEN_STREAMS, "provider", where=OF_MODEL), "{{provider}} broken streams"
                ),
            ),
            no_value=_NO_FAILURES,
        ),
        Panel(
            title="Steps after a failed attempt",
            description="failover and retry cost time only; give_up and over_budget are errors that clients saw.",
            unit="ops",
            queries=(Query(rate(catalogue.RECOVERY_STEPS, "step", where=OF_PROVIDER), "{{step}}"),),
            shape="stack",
            no_value=_NO_FAILURES,
        ),
        Panel(
            title="Steps by the provider that failed",
            description="Whose failures cost the time of failovers and retries.",
            unit="ops",
            queries=(
                Query(
                    rate(catalogue.RECOVERY_STEPS, "provider", "step", where=OF_PROVIDER),
                    "{{provider}} {{step}}",
                ),
            ),
            shape="stack",
            no_value=_NO_FAILURES,
        ),
    ),
)

PROVIDERS: Final = Dashboard(
    uid="llm-gateway-providers",
    title="LLM gateway: providers",
    description="Which providers are well, how fast they are, and what is done about their failures.",
    variables=(PROVIDER, MODEL, INSTANCE),
    rows=(_HEALTH, _SPEED, _RECOVERY),
)
