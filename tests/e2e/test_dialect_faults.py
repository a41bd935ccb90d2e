"""Faults of providers as the clients of each translating dialect see them; test_fault_matrix.py is about /v1.

A fault before the first content costs nothing but time. One after it ends a stream with an error in the API's own
shape, and without [DONE]. The usage row says what happened, and how many bytes the client has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.fault_run import FaultRun, Outcome, path_of
from tests.fakes.client_dialects import DIALECTS, SETTINGS, Answer
from tests.fakes.dialect_cases import CASES
from tests.fakes.fault_cases import Promise, promised
from tests.fakes.faults import BEFORE_CONTENT, BIG, TEXT, Case, text_before

TRANSPORT = "pool"


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRun]:
    """Return the outcome of every case of this session, all of them played once and at the same time."""
    params = (getattr(item, "callspec", None) for item in request.session.items if item.path == request.path)
    wanted = [(TRANSPORT, one.params["case"]) for one in params if one and "case" in one.params]
    holds = sorted({(TRANSPORT, case.hold) for _, case in wanted})
    run = FaultRun(tmp_path_factory.mktemp("dialects"), holds, **SETTINGS)
    with run.played(wanted):
        yield run


def case_id(case: Case) -> str:
    extra = [word for word in (case.surface, case.hold) if word not in {"chat", "held"}]
    return "-".join([case.dialect, case.fault, case.phase, case.framing, *extra])


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_fault(matrix: FaultRun, case: Case) -> None:
    outcome = matrix.outcomes[TRANSPORT, case]
    promise = promised(case)
    assert outcome.problem == "", (outcome.status, outcome.row)
    assert outcome.status == (400 if promise.end == "refused" else 200), outcome.body[-600:]
    row = outcome.row
    assert (row["status_code"], row["endpoint"]) == (outcome.status, path_of(case))
    assert row["response_bytes"] == len(outcome.body)
    asked = (row["attempts"], row["provider"], outcome.good)
    if promise.end == "failover":
        assert asked == (2, "good", 1)
    else:
        assert asked == (1, "bad", 0)
        assert outcome.bad == 1
    read = read_answer(case, outcome)
    if read.request_id is not None:
        assert read.request_id == outcome.headers["x-request-id"]
    if promise.end == "error":
        check_cut(case, promise, outcome, read)
    elif promise.end == "refused":
        assert read.error
        assert (row["outcome"], row["error_type"] is not None) == ("error", True)
    else:
        check_answered(case, promise, outcome, read)


def read_answer(case: Case, outcome: Outcome) -> Answer:
    dialect = DIALECTS[case.dialect]
    if outcome.headers["content-type"].startswith("text/event-stream"):
        return dialect.read_stream(outcome.body)
    assert case.surface == "unary" or outcome.status != 200
    return dialect.read_whole(outcome.body)


def check_answered(case: Case, promise: Promise, outcome: Outcome, read: Answer) -> None:
    whole = "q" * BIG if case.fault in {"big_event", "big_body"} else TEXT
    expected = text_before(case) if promise.end == "completed" else whole
    assert len(read.text) == len(expected)
    assert read.text == expected
    assert (read.ended, read.error) == (True, None)
    assert outcome.row["outcome"] == "ok"
    check_tokens(outcome, exact=promise.end != "completed" or case.phase == "before_done")
    row = outcome.row
    assert read.tokens == (row["prompt_tokens"], row["completion_tokens"])


def check_cut(case: Case, promise: Promise, outcome: Outcome, read: Answer) -> None:
    assert read.text == text_before(case)
    assert (read.ended, read.error, read.tokens) == (False, promise.reason, None)
    row = outcome.row
    assert (row["outcome"], row["error_type"]) == ("error", promise.reason)
    if case.phase in {"after_usage", "before_done"}:
        check_tokens(outcome, exact=True)
    elif case.phase not in BEFORE_CONTENT:
        check_tokens(outcome, exact=False)
    assert row["prompt_tokens"] > 0


def check_tokens(outcome: Outcome, *, exact: bool) -> None:
    row = outcome.row
    if exact:
        assert (row["prompt_tokens"], row["completion_tokens"], row["usage_source"]) == (9, 4, "provider")
    else:
        assert row["usage_source"] in {"counted", "estimated"}
        assert row["completion_tokens"] > 0


def test_failed_attempts_are_counted(matrix: FaultRun) -> None:
    for (_, hold), counted in matrix.failed.items():
        promises = [promised(case) for _, case in matrix.outcomes if case.hold == hold]
        reasons = Counter(promise.reason for promise in promises if promise.end == "failover")
        assert +counted == +reasons, hold
