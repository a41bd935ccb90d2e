"""What a request is expected to use: bounded whatever a client states, and learnt from the replies before it."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.accounting.holds import OutputHistory, TokenEstimator
from llm_gateway.flow.ports.limits import Demand, ExpectedTokens
from tests.fakes.openai_requests import enabled_provider, model_request
from tests.fakes.usage_records import served

DEFAULT = 500


def demand(endpoint: Any = "chat/completions", **fields: Any) -> Demand:
    return Demand(model_request(endpoint, **fields), 0)


def expect(endpoint: Any = "chat/completions", **fields: Any) -> ExpectedTokens:
    return TokenEstimator(DEFAULT).expect(demand(endpoint, **fields))


def reply(tokens: int | None, **changes: Any) -> UsageRecord:
    values = {"provider": "p", "model": "public", "upstream_model": "m", "completion_tokens": tokens}
    return UsageRecord("id", 0, "/v1", "POST", False, 200, **{"outcome": "ok", **values, **changes})


def test_a_prompt_is_a_quarter_of_its_bytes() -> None:
    assert expect(messages="x" * 398).prompt == 3 + 100
    assert expect(messages="x" * 39_998).prompt == 3 + 10_000
    assert expect("completions", prompt="x" * 38, suffix="x" * 38).prompt == 3 + 20
    assert expect("responses", input="x" * 38, instructions="x" * 38).prompt == 3 + 20
    assert expect(max_tokens=1) == ExpectedTokens(3, 1, True), "never nothing"


def test_an_embedding_has_no_completion() -> None:
    assert expect("embeddings", input="x" * 38, max_tokens=9) == ExpectedTokens(13, 0, True)


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"image_url": {"url": "data:image/png;base64," + "A" * 400_000}}, 765),
        ({"input_audio": {"format": "wav", "data": "A" * 400_000}}, 8000),
        ({"file": {"file_data": "data:application/pdf;base64," + "A" * 400_000}}, 8000),
        ({"text": "A" * 400_000}, 100_000),
    ],
)
def test_media_are_not_counted_as_text(part: dict[str, Any], tokens: int) -> None:
    found = expect(messages=[{"role": "user", "content": [part]}]).prompt
    assert tokens <= found < tokens + 50


@pytest.mark.parametrize(
    "spaced", [msgspec.json.encode({"data": "A" * 40_000}), b'{"data": "' + b"A" * 40_000 + b'"}']
)
def test_media_are_found_with_and_without_a_space(spaced: bytes) -> None:
    request = model_request()
    request.fields["messages"] = msgspec.Raw(spaced)
    assert TokenEstimator(DEFAULT).expect(Demand(request, 0)).prompt < 820


def test_a_text_full_of_marks_counts_as_text() -> None:
    found = expect(messages=';base64,"' * 100_000)
    assert found.prompt > 200_000


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_sane_bound_is_held(name: str) -> None:
    found = expect(messages=[], **{name: 77})
    assert (found.completion, found.is_stated) == (77, True)


def test_the_larger_of_two_bounds_and_all_choices_are_held() -> None:
    assert expect(max_tokens=5, max_completion_tokens=9, n=3).completion == 27
    assert expect("completions", max_tokens=5, n=2, best_of=4).completion == 20
    for many in (128, 129, 1000, 10**30):
        assert expect(max_tokens=5, n=many).completion == 640
    assert expect("responses", max_output_tokens=5, max_tokens=9).completion == 5


@pytest.mark.parametrize("value", [-1, 0, 10**9, 10**400, 1.5, 1e30, "9", None, True, [1], {"a": 1}])
def test_an_absurd_bound_is_taken_for_none(value: object) -> None:
    found = expect(messages=[], max_tokens=value)
    assert (found.completion, found.is_stated) == (DEFAULT, False)


@pytest.mark.parametrize("value", [-1, 0, 1.5, 1e30, "9", None, True, [1], {"a": 1}])
def test_an_absurd_number_of_choices_is_one(value: object) -> None:
    assert expect(max_tokens=5, n=value).completion == 5


@given(
    st.dictionaries(
        st.sampled_from(["max_tokens", "n", "best_of", "messages", "tools"]),
        st.integers() | st.floats() | st.text(),
    )
)
def test_no_request_is_expected_to_use_nothing_or_without_bound(fields: dict[str, Any]) -> None:
    found = expect(**fields)
    assert found.prompt >= 3
    assert 1 <= found.completion <= 128 * 1_000_000


def test_a_hundred_replies_replace_the_default() -> None:
    estimator = TokenEstimator(DEFAULT)
    for _ in range(99):
        estimator.learn(reply(8))
    assert estimator.expect(demand()).completion == DEFAULT
    estimator.learn(reply(8))
    assert estimator.expect(demand()).completion == 8
    deployment = enabled_provider("openai").deployment("m")
    known = msgspec.structs.replace(demand(), deployment=deployment)
    assert estimator.expect(known).completion == 8
    for _ in range(200):
        estimator.learn(reply(64, model="other"))
    assert estimator.expect(known).completion == 64, "the deployment's own history goes first"
    assert estimator.expect(demand()).completion == 8


def test_only_whole_replies_teach_and_each_once() -> None:
    estimator = TokenEstimator(DEFAULT)
    for record in (reply(None), reply(0), reply(5, outcome="aborted"), reply(5, outcome="error")):
        estimator.learn(record)
    assert estimator.history("public") is None
    record = reply(5)
    estimator.learn(record)
    estimator.learn(record)
    history = estimator.history(("p", "m"))
    assert history is not None
    assert history.samples == 1


def test_models_that_clients_invent_do_not_fill_the_memory() -> None:
    estimator = TokenEstimator(DEFAULT)
    for number in range(3000):
        estimator.learn(reply(5, model=f"m{number}", upstream_model=f"m{number}"))
    assert estimator.history("m2999") is not None
    assert estimator.history("m0") is None


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=400))
def test_the_quantile_is_never_too_low_and_hardly_too_high(tokens: list[int]) -> None:
    history, half, other = OutputHistory(), OutputHistory(), OutputHistory()
    for position, count in enumerate(tokens):
        history.add(count)
        (half if position % 2 else other).add(count)
    true = sorted(tokens)[-(-99 * len(tokens) // 100) - 1]
    assert true <= history.p99() <= true * 1.091 + 1
    half.merge(other)
    assert (half.p99(), half.samples) == (history.p99(), len(tokens))


@given(st.lists(st.integers(0, 5000) | st.sampled_from([0, 1, 8, 64]), min_size=1, max_size=300), st.data())
def test_a_quantile_that_is_asked_for_now_and_then_is_that_of_all_replies(
    tokens: list[int], data: st.DataObject
) -> None:
    history = OutputHistory()
    asked_at = data.draw(st.sets(st.integers(0, len(tokens) - 1), max_size=20))
    for place, count in enumerate(tokens):
        history.add(count)
        if place in asked_at:
            history.p99()
    # Those between two of its recounts are not in it yet.
    history.recount_at = 0
    whole = OutputHistory()
    for count in tokens:
        whole.add(count)
    assert history.p99() == whole.p99()


@pytest.mark.parametrize("with_record", [False, True])
def test_served_requests_teach_what_their_records_do(with_record: bool) -> None:
    of_requests, of_records = TokenEstimator(DEFAULT), TokenEstimator(DEFAULT)
    if with_record:
        of_requests.learn(reply(9))
        of_records.learn(reply(9))
    for place in range(200):
        tokens = place % 70
        request = msgspec.structs.replace(
            served(str(place)), usage=Usage(19, tokens, 19 + tokens), completion_tokens=tokens
        )
        of_requests.learn(request)
        of_records.learn(request.record())
    for key in ("gpt-4o", ("main", "gpt-4o-2024-08-06")):
        one, other = of_requests.history(key), of_records.history(key)
        assert one is not None
        assert other is not None
        assert one.counts == other.counts
        assert one.p99() == other.p99()


def test_a_history_follows_a_model_that_changes() -> None:
    history = OutputHistory()
    chance = random.Random(1)
    for _ in range(20_000):
        history.add(chance.randint(1, 100))
    for _ in range(40_000):
        history.add(chance.randint(1, 1000))
    assert history.samples < 10_000
    assert 980 <= history.p99() <= 1100


def test_an_estimate_leaves_out_the_latest_31_replies_at_most() -> None:
    estimator = TokenEstimator(DEFAULT)
    deployment = enabled_provider("openai").deployment("m")
    known = msgspec.structs.replace(demand(), deployment=deployment)
    for _ in range(100):
        estimator.learn(reply(8))
    assert estimator.expect(known).completion == 8
    for _ in range(31):
        estimator.learn(reply(64))
    assert estimator.expect(known).completion == 8
    estimator.learn(reply(64))
    assert estimator.expect(known).completion == 64


def test_those_who_learn_once_are_counted_with_the_others() -> None:
    estimator = TokenEstimator(DEFAULT)
    for number in range(99):
        one = reply(8)
        estimator.learn_once(one)
        if number % 2:
            # Another limit of the same request.
            estimator.learn(one)
        estimator.estimate(demand())
    assert estimator.expect(demand()).completion == DEFAULT
    estimator.learn_once(reply(8))
    assert estimator.expect(demand()).completion == 8
    history = estimator.history(("p", "m"))
    assert history is not None
    assert history.samples == 100
    for _ in range(200):
        estimator.learn_once(reply(64))
    assert estimator.expect(demand()).completion == 64


def test_the_quantile_comes_down_to_the_lowest_bucket_that_has_it() -> None:
    history = OutputHistory()
    history.add(4000)
    assert history.p99() >= 4000
    # Exactly 99 of 100 are below the one.
    for _ in range(99):
        history.add(10)
    assert history.p99() <= 11
