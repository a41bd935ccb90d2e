"""The states of deployments over several workers: counted while they live, bounded, and zero again when idle."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_gateway.flow.ports.workers import SharedDeploymentState
from llm_gateway.infra.metrics.deployments import OwnDeploymentState, SharedDeploymentStates
from llm_gateway.server.processes.metrics_directory import MetricsDirectory


def own(provider: str, model: str, trial_in: float | None = None, in_flight: int = 0) -> OwnDeploymentState:
    return OwnDeploymentState(
        provider_key=provider,
        upstream_model=model,
        is_closed=trial_in is None,
        trial_in=trial_in or 0.0,
        in_flight=in_flight,
    )


class Worker:
    """A worker, and what it knows of its deployments."""

    def __init__(self, directory: Path | None, clock: Callable[[], float], most_keys: int = 100) -> None:
        self.states: list[OwnDeploymentState] = []
        self.shared = SharedDeploymentStates(
            directory, lambda: self.states, lambda: {"a": True}, clock=clock, most_keys=most_keys
        )

    def knows(self, *states: OwnDeploymentState) -> None:
        self.states = list(states)
        self.shared.update()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_breakers_are_counted_over_all_workers(tmp_path: Path, clock: Clock) -> None:
    first, second, third = (Worker(tmp_path, clock) for _ in range(3))
    first.knows(own("a", "m", 8.0, in_flight=1), own("b", "n", in_flight=2))
    second.knows(own("a", "m", 3.0), own("b", "n", in_flight=5))
    third.knows()
    expected = [
        SharedDeploymentState(
            provider_key="a", upstream_model="m", open=2, half_open=0, closed=1, trial_in=3.0, in_flight=1
        ),
        SharedDeploymentState(
            provider_key="b", upstream_model="n", open=0, half_open=0, closed=3, trial_in=None, in_flight=7
        ),
    ]
    assert first.shared.deployments() == third.shared.deployments() == expected
    assert (first.shared.workers(), first.shared.health()) == (3, {"a": True})


def test_an_open_breaker_is_half_open_when_its_time_is_over(tmp_path: Path, clock: Clock) -> None:
    first, second = Worker(tmp_path, clock), Worker(tmp_path, clock)
    first.knows(own("a", "m", 3.0))
    second.knows(own("a", "m", 8.0))
    clock.now += 4
    first.knows(own("a", "m", 0.0))
    (state,) = first.shared.deployments()
    assert (state.open, state.half_open, state.closed, state.trial_in) == (1, 1, 0, 4.0)


def test_what_is_idle_again_is_not_listed(tmp_path: Path, clock: Clock) -> None:
    first, second = Worker(tmp_path, clock), Worker(tmp_path, clock)
    first.knows(own("a", "m", 3.0, in_flight=4))
    second.knows()
    first.knows()
    assert second.shared.deployments() == []
    first.knows(own("a", "m", in_flight=1))
    assert [state.in_flight for state in second.shared.deployments()] == [1]


def test_a_worker_that_exited_does_not_count(tmp_path: Path, clock: Clock) -> None:
    directory = MetricsDirectory(tmp_path)
    try:
        gone = Worker(directory.path, clock)
        gone.knows(own("a", "m", 3.0))
        assert Worker(directory.path, clock).shared.deployments() != []
        directory.forget_worker(os.getpid())
        alone = Worker(directory.path, clock)
        assert alone.shared.deployments() == []
        assert alone.shared.workers() == 1
    finally:
        directory.remove()


def test_models_beyond_the_most_share_one_entry_of_their_provider(tmp_path: Path, clock: Clock) -> None:
    worker, other = (Worker(tmp_path, clock, most_keys=2) for _ in range(2))
    worker.knows(
        own("a", "m", in_flight=1),
        own("wild", "w1", in_flight=1),
        own("wild", "w2", 5.0, in_flight=1),
        own("wild", "w3", 2.0, in_flight=3),
    )
    other.knows()
    states = {(one.provider_key, one.upstream_model): one for one in other.shared.deployments()}
    assert list(states) == [("a", "m"), ("wild", "w1"), ("wild", None)]
    rest = states["wild", None]
    assert (rest.open, rest.closed, rest.trial_in, rest.in_flight) == (1, 1, 2.0, 4)


def test_one_process_needs_no_folder(clock: Clock) -> None:
    worker = Worker(None, clock)
    assert worker.shared.workers() == 1
    worker.states = [own("a", "m", 1.5)]
    (state,) = worker.shared.deployments()
    assert (state.open, state.closed, state.trial_in) == (1, 0, 1.5)
