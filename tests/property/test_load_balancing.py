"""Shares are exact and smooth, and a change of weights or targets shifts them by a pick or two at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.routing.load_balancing import SmoothWeightedRoundRobin

_NAMES = "abcdefgh"


def weights_of(names: Sequence[str], largest: int = 20) -> st.SearchStrategy[dict[str, int]]:
    weight = st.one_of(st.integers(1, 3), st.integers(1, largest))
    return st.fixed_dictionaries(dict.fromkeys(names, weight))


# Any of eight targets, with any weights.
_RINGS = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=6, unique=True).flatmap(weights_of)


def pick(ring: SmoothWeightedRoundRobin, weights: dict[str, int]) -> str:
    keys = list(weights)
    return keys[ring.pick(keys, list(weights.values()))]


def picks(ring: SmoothWeightedRoundRobin, weights: dict[str, int], count: int) -> list[str]:
    return [pick(ring, weights) for _ in range(count)]


def rebase(ring: SmoothWeightedRoundRobin, weights: dict[str, int]) -> None:
    ring.rebase(list(weights), list(weights.values()))


def assert_exact_in_every_cycle(sequence: list[str], weights: dict[str, int]) -> None:
    """Look at every stretch of one cycle's length, wherever it starts."""
    total = sum(weights.values())
    counts = Counter(sequence[:total])
    assert counts == weights
    for leaves, enters in zip(sequence, sequence[total:], strict=False):
        assert leaves == enters


@given(weights=_RINGS)
def test_s4_61_a_new_round_robin_gives_exact_shares_in_every_cycle(weights: dict[str, int]) -> None:
    total = sum(weights.values())
    assert_exact_in_every_cycle(picks(SmoothWeightedRoundRobin(), weights, 3 * total), weights)


@given(weights=_RINGS)
def test_c1_nobody_is_ever_a_whole_pick_ahead_of_its_share(weights: dict[str, int]) -> None:
    ring, total = SmoothWeightedRoundRobin(), sum(weights.values())
    got: Counter[str] = Counter()
    for turn in range(1, 2 * total + 1):
        got[pick(ring, weights)] += 1
        for name, weight in weights.items():
            due = turn * weight / total
            assert due - max(1, len(weights) - 1) < got[name] < due + 1


def test_c1_a_heavy_target_is_not_served_in_one_burst() -> None:
    sequence = picks(SmoothWeightedRoundRobin(), {"a": 5, "b": 1, "c": 1}, 7)
    assert "".join(sequence) == "aabacaa"


@given(count=st.integers(1, 8), rounds=st.integers(1, 3))
def test_equal_weights_take_turns(count: int, rounds: int) -> None:
    weights = dict.fromkeys(_NAMES[:count], 3)
    assert "".join(picks(SmoothWeightedRoundRobin(), weights, rounds * count)) == _NAMES[:count] * rounds


@given(weights=_RINGS, turns=st.integers(0, 30))
def test_peek_returns_the_target_with_the_highest_credit(weights: dict[str, int], turns: int) -> None:
    ring, keys = SmoothWeightedRoundRobin(), list(weights)
    picks(ring, weights, turns)
    before = [ring._credits.get(key, 0) + weights[key] for key in keys]
    order = [ring.pick(keys, list(weights.values()))]
    while left := [index for index in range(len(keys)) if index not in order]:
        order.append(ring.peek(keys, left))
    assert [before[index] for index in order] == sorted(before, reverse=True)


@given(
    past=st.lists(st.tuples(_RINGS, st.integers(0, 40)), max_size=6),
    weights=_RINGS,
)
def test_after_any_past_shares_are_exact_again_within_a_cycle(
    past: list[tuple[dict[str, int], int]], weights: dict[str, int]
) -> None:
    """Weights change, targets leave and come back."""
    ring = SmoothWeightedRoundRobin()
    for old, count in past:
        rebase(ring, old)
        picks(ring, old, count)
    rebase(ring, weights)
    total = sum(weights.values())
    first = Counter(picks(ring, weights, total))
    assert all(abs(first[name] - weight) <= 1 for name, weight in weights.items())
    assert_exact_in_every_cycle(picks(ring, weights, 3 * total), weights)


@given(weights=_RINGS, count=st.integers(0, 60))
def test_a_rebase_to_the_same_weights_changes_nothing(weights: dict[str, int], count: int) -> None:
    rebased, left_alone = SmoothWeightedRoundRobin(), SmoothWeightedRoundRobin()
    picks(rebased, weights, count)
    picks(left_alone, weights, count)
    total = sum(weights.values())
    if any(abs(credit) > total for credit in rebased._credits.values()):
        return  # More than a pick is owed, which a rebase cuts off.
    rebase(rebased, weights)
    assert picks(rebased, weights, total) == picks(left_alone, weights, total)


@given(weights=_RINGS, factor=st.integers(2, 5), count=st.integers(0, 40))
def test_the_same_proportions_in_larger_numbers_go_on_as_before(
    weights: dict[str, int], factor: int, count: int
) -> None:
    one, other = SmoothWeightedRoundRobin(), SmoothWeightedRoundRobin()
    larger = {name: weight * factor for name, weight in weights.items()}
    assert picks(one, weights, count) == picks(other, larger, count)
    total = sum(weights.values())
    if any(abs(credit) > total for credit in one._credits.values()):
        return
    rebase(one, larger)
    assert picks(one, larger, total) == picks(other, larger, total)


@given(
    storm=st.integers(2, 5).flatmap(
        lambda count: st.lists(weights_of(_NAMES[:count], largest=100), min_size=1, max_size=80)
    )
)
def test_c21_nobody_starves_when_weights_change_at_every_request(storm: list[dict[str, int]]) -> None:
    ring = SmoothWeightedRoundRobin()
    due = dict.fromkeys(storm[0], 0.0)
    got: Counter[str] = Counter()
    for weights in storm:
        rebase(ring, weights)
        got[pick(ring, weights)] += 1
        for name, weight in weights.items():
            due[name] += weight / sum(weights.values())
            assert abs(due[name] - got[name]) < 2


def test_who_comes_back_waits_for_its_turn_and_no_longer() -> None:
    ring, both, alone = SmoothWeightedRoundRobin(), {"a": 1, "b": 1}, {"a": 1}
    assert "".join(picks(ring, both, 3)) == "aba"
    rebase(ring, alone)
    picks(ring, alone, 50)
    rebase(ring, both)
    assert sorted(picks(ring, both, 2)) == ["a", "b"]


def test_a_round_robin_without_targets_is_left_as_it_is() -> None:
    ring = SmoothWeightedRoundRobin()
    picks(ring, {"a": 1, "b": 1}, 1)
    rebase(ring, {})
    assert pick(ring, {"a": 1, "b": 1}) == "b"


_STEPS = st.lists(
    st.one_of(
        st.integers(1, 40).map(lambda count: ("pick", count)),
        st.sampled_from([("among", 1), ("peek", 1), ("weights", 1), ("reload", 1), ("copy", 1)]),
    ),
    max_size=12,
)


@given(rings=st.lists(_RINGS, min_size=1, max_size=3), steps=_STEPS)
def test_a_replayed_cycle_is_what_would_have_been_picked(
    rings: list[dict[str, int]], steps: list[tuple[str, int]]
) -> None:
    replayed, picked = SmoothWeightedRoundRobin(), SmoothWeightedRoundRobin(longest_cycle=0)
    number = 0
    keys, weights = tuple(rings[0]), tuple(rings[0].values())
    for step, count in steps:
        some = range(0, len(keys), 2)
        match step:
            case "pick":
                for _ in range(count * 3):
                    assert replayed.pick(keys, weights) == picked.pick(keys, weights)
            case "among":
                assert replayed.pick_among(keys, weights, some) == picked.pick_among(keys, weights, some)
            case "peek":
                assert replayed.peek(keys, some) == picked.peek(keys, some)
            case "copy":
                replayed = deepcopy(replayed)
            case "reload":
                # Equal, and not the same: the sequences of another snapshot.
                keys, weights = tuple(iter(keys)), tuple(iter(weights))
            case _:
                number += 1
                ring = rings[number % len(rings)]
                keys, weights = tuple(ring), tuple(ring.values())
                for one in (replayed, picked):
                    one.rebase(keys, weights)
    everything = range(len(keys))
    assert replayed.peek(keys, everything) == picked.peek(keys, everything)
    assert replayed._credits == picked._credits
