"""Metrics by credential: how its requests ended, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.ledger.records import Outcome
from llm_gateway.core.money import NANO_USD
from llm_gateway.infra.metrics.shared_counters import CounterCells, SharedCounters

_NO_TENANT: Final = "none"
_OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)
# The layout of the cells: requests by outcome, and their cost in nano-USD, because sums of whole numbers are exact.
OUTCOME_CELLS: Final[dict[str, int]] = {outcome: place for place, outcome in enumerate(_OUTCOMES)}
COST_CELL: Final = len(_OUTCOMES)

# The names of all credentials, and the tenant of each; None = it belongs to none.
Credentials = Mapping[str, str | None]


class CredentialMetrics(Collector):
    """Counts for each credential of the configuration; those of one that is deleted are shown no more."""

    def __init__(self, credentials: Callable[[], Credentials], directory: Path | None) -> None:
        """Share with every process that names the same `directory`; None if there is only one process."""
        self._credentials = credentials
        self._counters = SharedCounters(COST_CELL + 1, directory, "credentials")

    @property
    def unreadable(self) -> int:
        """Return how many files of other workers the last collection could not read."""
        return self._counters.unreadable

    def cells(self, credential: str | None) -> CounterCells | None:
        """Return where to count the requests of a credential; None without one of the configuration.

        Another configuration may delete the credential, or move it to another tenant, which has other cells.
        """
        known = self._credentials()
        if credential is None or credential not in known:
            return None
        return self._counters.cells((credential, known[credential] or _NO_TENANT))

    def collect(self) -> Iterator[Family]:
        """Return the current values."""
        requests, cost = (
            CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            for metric in (catalogue.CREDENTIAL_REQUESTS, catalogue.CREDENTIAL_COST)
        )
        for key, values in self._sums().items():
            for outcome, number in zip(_OUTCOMES, values, strict=False):
                if number:
                    requests.add_metric((*key, outcome), number)
            if values[COST_CELL]:
                cost.add_metric(key, values[COST_CELL] / NANO_USD)
        yield requests
        yield cost

    def _sums(self) -> dict[tuple[str, ...], list[float]]:
        current = {(name, tenant or _NO_TENANT) for name, tenant in self._credentials().items()}
        sums: dict[tuple[str, ...], list[float]] = {}
        for key, cells in self._counters.all():
            if key in current:
                known = sums.setdefault(key, [0.0] * (COST_CELL + 1))
                for place in range(COST_CELL + 1):
                    known[place] += cells[place]
        return sums
