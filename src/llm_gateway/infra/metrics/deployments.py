"""States of deployments over all workers: each writes its own to shared memory, and any of them reads all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from llm_gateway.flow.ports.workers import DeploymentStateReader, SharedDeploymentState
from llm_gateway.infra.metrics.shared_counters import CounterCells, SharedCounters

# The supervisor removes the files of this name of a worker that has exited.
FILES = "deployments"
# Each worker has this key, so that those without a busy deployment are counted, too.
_WORKER = ("",)
# Of a key: 1 if the breaker is not closed (of several deployments: how many are not), the monotonic time at which it
# allows a trial, and the attempts in flight.
_NOT_CLOSED, _TRIAL_AT, _IN_FLIGHT = range(3)
# Clients choose the upstream models of wildcard providers: beyond this many keys, the others of a provider share one.
_MOST_KEYS = 2_000


class OwnDeploymentState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a deployment in this worker, if its breaker is not closed or if it has attempts in flight."""

    provider_key: str
    upstream_model: str
    is_closed: bool
    # Seconds until the breaker allows a trial.
    trial_in: float
    in_flight: int


class SharedDeploymentStates(DeploymentStateReader):
    """The states of deployments in this worker and the others."""

    def __init__(
        self,
        directory: Path | None,
        own: Callable[[], Iterable[OwnDeploymentState]],
        health: Callable[[], Mapping[str, bool]],
        *,
        clock: Callable[[], float] = time.monotonic,
        most_keys: int = _MOST_KEYS,
    ) -> None:
        """Share with every process that names the same `directory`; `clock` is the same in all of them.

        `own` returns what `update` writes; `health` tells of providers whether their last answer was a good one.
        """
        self._own = own
        self._health = health
        self._clock = clock
        self._most_keys = most_keys
        self._counters = SharedCounters(3, directory, FILES)
        self._known: dict[tuple[str, str], CounterCells] = {}
        # Cells that may hold something other than zeros.
        self._written: list[CounterCells] = []

    def update(self) -> None:
        """Write the states in this worker; to be called regularly, on the event loop."""
        now = self._clock()
        self._counters.cells(_WORKER)[_NOT_CLOSED] = 1
        written, self._written = self._written, []
        totals: dict[int, tuple[CounterCells, list[float]]] = {}
        for state in self._own():
            cells = self._cells(state.provider_key, state.upstream_model)
            _, values = totals.setdefault(id(cells), (cells, [0.0, 0.0, 0.0]))
            if not state.is_closed:
                at = now + state.trial_in
                values[_TRIAL_AT] = at if not values[_NOT_CLOSED] else min(values[_TRIAL_AT], at)
                values[_NOT_CLOSED] += 1
            values[_IN_FLIGHT] += state.in_flight
        for cells in written:
            if id(cells) not in totals:
                cells[_NOT_CLOSED] = cells[_TRIAL_AT] = cells[_IN_FLIGHT] = 0.0
        for cells, values in totals.values():
            for place, value in enumerate(values):
                cells[place] = value
            self._written.append(cells)

    def deployments(self) -> list[SharedDeploymentState]:
        self.update()
        now = self._clock()
        workers = 0
        found: dict[tuple[str, str | None], list[CounterCells]] = {}
        for key, cells in self._counters.all():
            if key == _WORKER:
                workers += 1
            elif len(key) == 2 or len(key) == 1:
                found.setdefault((key[0], key[1] if len(key) == 2 else None), []).append(cells)
        states = (_sum(key, cells, workers, now) for key, cells in sorted(found.items(), key=_order))
        return [state for state in states if state.open or state.half_open or state.in_flight]

    def workers(self) -> int:
        return sum(key == _WORKER for key, _ in self._counters.all()) or 1

    def health(self) -> Mapping[str, bool]:
        return self._health()

    def _cells(self, provider: str, model: str) -> CounterCells:
        key = provider, model
        cells = self._known.get(key)
        if cells is None:
            if len(self._known) >= self._most_keys:
                return self._counters.cells((provider,))
            cells = self._known[key] = self._counters.cells(key)
        return cells


def _order(found: tuple[tuple[str, str | None], object]) -> tuple[str, bool, str]:
    (provider, model), _ = found
    return provider, model is None, model or ""


def _sum(
    key: tuple[str, str | None], cells: list[CounterCells], workers: int, now: float
) -> SharedDeploymentState:
    provider, model = key
    waits = [each[_TRIAL_AT] - now for each in cells if each[_NOT_CLOSED]]
    still_open = [wait for wait in waits if wait > 0]
    return SharedDeploymentState(
        provider_key=provider,
        upstream_model=model,
        open=len(still_open),
        half_open=len(waits) - len(still_open),
        closed=max(workers - len(waits), 0),
        trial_in=min(still_open, default=None),
        in_flight=sum(round(each[_IN_FLIGHT]) for each in cells),
    )
