"""Counters are summed over the workers; gauges show enabled providers only, whichever worker set them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.infra.metrics.events import EventMetrics, ProviderGauges

Samples = dict[tuple[str, ...], float]


def samples(collector: EventMetrics | ProviderGauges) -> dict[str, Samples]:
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in collector.collect()
    }


class Workers:
    """The gauges of two workers and what is enabled."""

    def __init__(self, directory: Path) -> None:
        self.enabled = {"a", "b"}
        ticks = itertools.count(1)
        self.first, self.second = (
            ProviderGauges(
                catalogue.PROVIDER_HEALTH,
                catalogue.OPEN_BREAKERS,
                lambda: self.enabled,
                directory,
                clock=lambda: next(ticks),
            )
            for _ in range(2)
        )

    def health(self) -> Samples:
        first, second = (samples(one)[catalogue.PROVIDER_HEALTH.name] for one in (self.first, self.second))
        assert first == second
        return first

    def breakers(self) -> Samples:
        return samples(self.first)[catalogue.OPEN_BREAKERS.name]


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    return Workers(tmp_path)


def test_counters_of_all_workers_are_summed(tmp_path: Path) -> None:
    metrics = (catalogue.CACHE_REQUESTS, catalogue.CACHE_FAILURES)
    first, second = (EventMetrics(metrics, tmp_path) for _ in range(2))
    assert samples(first) == {"llm_gateway_cache_requests": {}, "llm_gateway_cache_failures": {(): 0}}
    first.add(catalogue.CACHE_REQUESTS, "hit")
    second.add(catalogue.CACHE_REQUESTS, "hit", number=3)
    second.add(catalogue.CACHE_FAILURES)
    for one in (first, second):
        assert samples(one) == {
            "llm_gateway_cache_requests": {("hit",): 4},
            "llm_gateway_cache_failures": {(): 1},
        }


def test_the_latest_value_counts(workers: Workers) -> None:
    workers.first.set_latest("a", 1)
    workers.second.set_latest("a", 0)
    assert workers.health() == {("a",): 0}
    workers.first.set_latest("a", 1)
    assert workers.health() == {("a",): 1}


def test_summed_values_are_summed(workers: Workers) -> None:
    workers.first.set_summed("a", 1)
    workers.second.set_summed("a", 2)
    assert workers.breakers() == {("a",): 3}


def test_a_provider_that_is_gone_is_not_shown_by_any_worker(workers: Workers) -> None:
    for one in (workers.first, workers.second):
        one.set_latest("a", 0)
        one.set_latest("b", 1)
        one.set_summed("a", 1)
    workers.enabled = {"b"}
    assert workers.health() == {("b",): 1}
    assert workers.breakers() == {}


def test_a_provider_that_is_back_has_no_value_until_it_answers(workers: Workers) -> None:
    workers.first.set_latest("a", 0)
    workers.second.set_latest("b", 1)
    workers.enabled = set()
    # A worker may forget what another one set, for example one that has exited.
    assert sorted(workers.second.forget_others()) == ["a", "b"]
    assert workers.first.forget_others() == []
    workers.enabled = {"a", "b"}
    assert workers.health() == {}
    workers.first.set_latest("a", 1)
    assert workers.health() == {("a",): 1}


def test_keys_of_a_damaged_file_are_not_shown(tmp_path: Path) -> None:
    damaged = EventMetrics((), tmp_path)
    damaged.add(catalogue.CACHE_REQUESTS)
    damaged.add(catalogue.CACHE_REQUESTS, "hit", "more")
    damaged.add(catalogue.REQUESTS, "unknown")
    assert samples(EventMetrics((catalogue.CACHE_REQUESTS,), tmp_path)) == {"llm_gateway_cache_requests": {}}
