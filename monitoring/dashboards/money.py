"""Money: what is spent on what and by whom, what has no known price, and how far budgets reach."""

from __future__ import annotations

from typing import Final

from llm_gateway.core import metric_catalogue as catalogue
from monitoring.dashboards.choices import (
    CREDENTIAL,
    INSTANCE,
    MODEL,
    OF_CREDENTIAL,
    OF_INSTANCE,
    OF_MODEL,
    PROVIDER,
)
from monitoring.model import Dashboard, Panel, Query, Row, increase, rate

_NOTHING: Final = "nothing was spent"
# `delta` does not reach beyond the first sample, as predict_linear would: what a new budget will be is not made up.
_USED: Final = f"{catalogue.BUDGET_USED.name}{{{OF_INSTANCE}}}"
_FORECAST: Final = f"max by (budget) ({_USED} + 4 * clamp_min(delta({_USED}[6h]), 0))"


def _per_hour(*by: str) -> str:
    return f"{rate(catalogue.COST, *by, where=OF_MODEL)} * 3600"


_SPENT: Final = Row(
    title="Spent in the time range",
    panels=(
        Panel(
            title="Spent by model",
            description="Cost of requests whose price is known, by public model.",
            unit="currencyUSD",
            queries=(Query(increase(catalogue.COST, "$__range", "model", where=OF_MODEL), "{{model}}"),),
            shape="bars",
            width=8,
            height=6,
            no_value=_NOTHING,
        ),
        Panel(
            title="Spent by credential",
            description="Cost of requests whose price is known, by the name of the key.",
            unit="currencyUSD",
            queries=(
                Query(
                    increase(catalogue.CREDENTIAL_COST, "$__range", "credential", where=OF_CREDENTIAL),
                    "{{credential}}",
                ),
            ),
            shape="bars",
            width=8,
            height=6,
            no_value=_NOTHING,
        ),
        Panel(
            title="Spent by tenant",
            description="Cost of requests whose price is known; `none` are keys that belong to no tenant.",
            unit="currencyUSD",
            queries=(
                Query(
                    increase(catalogue.CREDENTIAL_COST, "$__range", "tenant", where=OF_CREDENTIAL),
                    "{{tenant}}",
                ),
            ),
            shape="bars",
            width=8,
            height=6,
            no_value=_NOTHING,
        ),
    ),
)

_RATES: Final = Row(
    title="Rates",
    panels=(
        Panel(
            title="Cost per hour by model and provider",
            description="At the rate of each moment.",
            unit="currencyUSD",
            queries=(Query(_per_hour("model", "provider"), "{{model}} at {{provider}}"),),
            shape="stack",
            no_value=_NOTHING,
        ),
        Panel(
            title="Cost per hour by credential",
            description="At the rate of each moment. A line that leaves the others behind may be a loop in a client.",
            unit="currencyUSD",
            queries=(
                Query(
                    f"{rate(catalogue.CREDENTIAL_COST, 'credential', where=OF_CREDENTIAL)} * 3600",
                    "{{credential}}",
                ),
            ),
            shape="stack",
            no_value=_NOTHING,
        ),
        Panel(
            title="Requests without a known price",
            description="They cost something that no sum contains. Add a price: see the page on unknown costs.",
            unit="reqps",
            queries=(
                Query(
                    rate(catalogue.UNPRICED_REQUESTS, "model", "reason", where=OF_MODEL),
                    "{{model}}: {{reason}}",
                ),
            ),
            shape="stack",
            width=8,
            no_value="every price is known",
        ),
        Panel(
            title="Requests by credential",
            description="By the name of the key. rejected: the gateway refused it; aborted: the client left.",
            unit="reqps",
            queries=(
                Query(
                    rate(catalogue.CREDENTIAL_REQUESTS, "credential", "outcome", where=OF_CREDENTIAL),
                    "{{credential}}: {{outcome}}",
                ),
            ),
            shape="stack",
            width=8,
            no_value="no requests",
        ),
        Panel(
            title="Refused by a limit or a budget",
            description="Requests that a limit of use or a budget refused, by its scope and name.",
            unit="reqps",
            queries=(
                Query(
                    rate(catalogue.LIMIT_REFUSALS, "scope", "limit", where=OF_INSTANCE),
                    "{{scope}}: {{limit}}",
                ),
            ),
            shape="stack",
            width=8,
            no_value="none was refused",
        ),
    ),
)

_BUDGETS: Final = Row(
    title="Budgets",
    panels=(
        Panel(
            title="Budgets: used",
            description="Spent and held part of each budget in its current window. At 100 % requests are refused.",
            width=6,
            unit="percentunit",
            queries=(Query(f"max by (budget) ({_USED})", "{{budget}}"),),
            shape="bars",
            no_value="no budget is in use",
            warn_from=0.8,
            alarm_from=0.95,
        ),
        Panel(
            title="Budgets: used, over time",
            description="A window that ends takes its line back to 0.",
            width=6,
            unit="percentunit",
            queries=(Query(f"max by (budget) ({_USED})", "{{budget}}"),),
            no_value="no budget is in use",
        ),
        Panel(
            title="Budgets: forecast for 24 hours",
            description="Used now, and four times what was used in the last six hours, on top. 100 % is all.",
            width=6,
            unit="percentunit",
            queries=(Query(_FORECAST, "{{budget}}"),),
            shape="bars",
            no_value="no budget is in use",
            warn_from=0.95,
            alarm_from=1.0,
        ),
        Panel(
            title="Budgets: out of reach",
            description="1 while a machine cannot borrow from budgets because the database does not answer.",
            width=6,
            unit="short",
            queries=(
                Query(f"max by (instance) ({catalogue.BUDGETS_AWAY.name}{{{OF_INSTANCE}}})", "{{instance}}"),
            ),
        ),
    ),
)

MONEY: Final = Dashboard(
    uid="llm-gateway-money",
    title="LLM gateway: money",
    description="What is spent on what and by whom, what has no known price, and how far budgets reach.",
    variables=(PROVIDER, MODEL, CREDENTIAL, INSTANCE),
    rows=(_SPENT, _RATES, _BUDGETS),
)
