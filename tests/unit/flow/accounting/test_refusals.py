from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.accounting.refusals import Refusals
from tests.fakes.in_memory import Recorder


class Second:
    """The clock of a test: what is due is called when the test says so."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self.journal = Recorder()
        self.refusals = Refusals(self.journal, most=3, call_later=self.later)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        assert seconds == 1.0
        self.due.append(call)

    def over(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()

    @property
    def rows(self) -> list[tuple[str, int]]:
        return [(record.request_id, record.requests) for record in self.journal.journalled]


def refused(number: int, credential: str | None = "team", **fields: object) -> UsageRecord:
    record = UsageRecord(
        f"id-{number}", number, "/v1/chat/completions", "POST", False, 429, "rejected",
        credential=credential, error_type="rate_limit_exceeded", request_bytes=10, response_bytes=100,
        model="m", client_ip="127.0.0.1",
    )  # fmt: skip
    return msgspec.structs.replace(record, **fields)


def test_few_refusals_have_a_row_each() -> None:
    second = Second()
    for number in range(3):
        second.refusals.add(refused(number))
    assert second.rows == [("id-0", 1), ("id-1", 1), ("id-2", 1)]
    second.over()
    assert len(second.rows) == 3


def test_the_rest_of_a_second_is_one_row_that_says_how_many() -> None:
    second = Second()
    for number in range(1000):
        second.refusals.add(refused(number))
    assert len(second.rows) == 3
    assert len(second.due) == 1
    second.over()
    assert second.rows[3:] == [("id-3", 997)]
    merged = second.journal.journalled[-1]
    assert (merged.request_bytes, merged.response_bytes) == (9970, 99_700)
    assert (merged.model, merged.client_ip) == ("m", "127.0.0.1")


def test_the_next_second_begins_anew() -> None:
    second = Second()
    for _ in range(2):
        for number in range(5):
            second.refusals.add(refused(number))
        second.over()
    assert [count for _, count in second.rows] == [1, 1, 1, 2] * 2


def test_kinds_are_counted_apart() -> None:
    second = Second()
    for number in range(10):
        second.refusals.add(refused(number, "one"))
        second.refusals.add(refused(number, "two"))
        second.refusals.add(refused(number, "two", status_code=404, error_type="model_not_found"))
    second.over()
    merged = [record for record in second.journal.journalled if record.requests > 1]
    assert [(one.credential, one.status_code, one.requests) for one in merged] == [
        ("one", 429, 7), ("two", 429, 7), ("two", 404, 7),
    ]  # fmt: skip


def test_requests_without_a_valid_key_are_one_row_a_second() -> None:
    second = Second()
    for number in range(50):
        second.refusals.add(refused(number, None, status_code=401, client_ip=f"127.0.0.{number}"))
    assert second.rows == []
    second.over()
    assert second.rows == [("id-0", 50)]
    # It is nobody's address in particular.
    assert second.journal.journalled[0].client_ip is None


def test_what_differs_is_left_out() -> None:
    second = Second()
    for number in range(5):
        second.refusals.add(refused(number, model=f"m-{number}", tags={"job": "1"}))
    second.over()
    merged = second.journal.journalled[-1]
    assert (merged.requests, merged.model, merged.tags) == (2, None, {"job": "1"})


@given(st.lists(st.sampled_from(["one", "two", None, "over"]), max_size=200))
def test_each_refusal_is_in_exactly_one_row(steps: list[str | None]) -> None:
    second = Second()
    sent = 0
    for number, step in enumerate(steps):
        if step == "over":
            second.over()
        else:
            second.refusals.add(refused(number, step))
            sent += 1
    second.refusals.flush()
    assert sum(record.requests for record in second.journal.journalled) == sent


async def test_by_itself_the_second_is_that_of_the_event_loop() -> None:
    journal = Recorder()
    refusals = Refusals(journal, most=0)
    refusals.add(refused(1))
    refusals.add(refused(2))
    for _ in range(300):
        if journal.journalled:
            break
        await asyncio.sleep(0.01)
    assert [record.requests for record in journal.journalled] == [2]
