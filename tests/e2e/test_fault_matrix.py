"""Every fault of a provider at every moment: another one answers and nobody knows, or the client hears of it.

docs/streams.md has the table of what is promised; its rows are the faults here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.fault_run import FaultRun
from tests.fakes.fault_cases import CASES, Promise, promised
from tests.fakes.faults import BEFORE_CONTENT, PATHS, PING, Case, before, healthy, rewritten

TRANSPORTS = ("pool", "aiohttp")
ALL = [(transport, case) for transport in TRANSPORTS for case in CASES]


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRun]:
    """Return the outcome of every case of this session, all of them played once and at the same time."""
    params = (getattr(item, "callspec", None) for item in request.session.items if item.path == request.path)
    wanted = [(one.params["transport"], one.params["case"]) for one in params if one and "case" in one.params]
    run = FaultRun(
        tmp_path_factory.mktemp("faults"), sorted({(transport, case.hold) for transport, case in wanted})
    )
    with run.played(wanted):
        yield run


def case_id(case: Case) -> str:
    extra = [word for word in (case.surface, case.hold) if word not in {"chat", "held"}]
    return "-".join([case.fault, case.phase, case.framing, *extra])


@pytest.mark.parametrize(
    ("transport", "case"), ALL, ids=[f"{case_id(case)}-{transport}" for transport, case in ALL]
)
def test_a_fault(matrix: FaultRun, transport: str, case: Case) -> None:
    outcome = matrix.outcomes[transport, case]
    promise = promised(case)
    assert outcome.problem == "", (outcome.status, outcome.row)
    text = outcome.body[-600:]
    assert outcome.status == (400 if promise.end == "refused" else 200), text
    row = outcome.row
    asked = (row["attempts"], row["provider"], outcome.good)
    whole = b"".join(healthy(case))
    if promise.end == "failover":
        assert outcome.body == whole, text
        assert asked == (2, "good", 1)
    else:
        assert asked == (1, "bad", 0)
        assert outcome.bad == 1
    if promise.end in {"failover", "whole", "completed"}:
        expected = rewritten(case) if case.fault in {"crlf", "cr"} else whole
        if promise.end == "completed":
            expected = b"".join([*before(case), b"data: [DONE]\n\n"])
        # Our own [DONE] ends a stream, whatever the provider's line ends are.
        assert without_done(outcome.body) == without_done(expected), text
        assert row["outcome"] == "ok"
        check_tokens(case, row, exact=promise.end != "completed" or case.phase == "before_done")
        if case.surface != "unary":
            read_by_sdk(case, outcome.body)
    elif promise.end == "error":
        check_cut(case, promise, outcome.body, row)
    else:
        assert json.loads(outcome.body)["error"]["type"], text
        assert (row["outcome"], row["status_code"]) == ("error", 400)


def check_cut(case: Case, promise: Promise, body: bytes, row: dict[str, Any]) -> None:
    """Check that what came went on, that an error event is the last, and that the row tells of both.

    A response also has `response.failed` before it.
    """
    came = b"".join(before(case))
    assert body.startswith(came)
    rest = body[len(came) :].replace(PING, b"")
    events = re.findall(rb"data: (.*)\n\n", rest)
    assert len(events) == (2 if case.surface == "responses" else 1), rest[-600:]
    error = json.loads(events[-1])["error"]
    assert error["code"] == promise.reason
    assert b"[DONE]" not in rest
    with pytest.raises(openai.APIError) as caught:
        read_by_sdk(case, body)
    assert caught.value.code == promise.reason
    assert (row["outcome"], row["error_type"], row["status_code"]) == ("error", promise.reason, 200)
    if case.phase in {"after_usage", "before_done"} and case.surface == "chat":
        check_tokens(case, row, exact=True)
    elif case.phase not in BEFORE_CONTENT:
        check_tokens(case, row, exact=False)
    assert row["prompt_tokens"] > 0


def check_tokens(case: Case, row: dict[str, Any], *, exact: bool) -> None:
    if exact:
        assert (row["prompt_tokens"], row["completion_tokens"], row["usage_source"]) == (9, 4, "provider")
    else:
        assert row["usage_source"] in {"counted", "estimated"}
        assert row["completion_tokens"] > 0


def without_done(body: bytes) -> bytes:
    return re.sub(rb"data: \[DONE\](\r\n|\r|\n){2}$", b"", body)


def read_by_sdk(case: Case, body: bytes) -> None:
    """Let the official client read what came; it raises what its user would see."""
    reader, bodies = sdk()
    bodies.append(body)
    stream: Any
    if case.surface == "responses":
        stream = reader.responses.create(model="m", input="hello", stream=True)
        assert list(stream)[-1].type == "response.completed"
        return
    messages: Any = [{"role": "user", "content": "hello"}]
    stream = reader.chat.completions.create(model="m", messages=messages, stream=True)
    reasons = [choice.finish_reason for chunk in stream for choice in chunk.choices]
    assert reasons[-1] == "stop"


@cache
def sdk() -> tuple[openai.OpenAI, list[bytes]]:
    """Return the official client, and where to put what it is answered next."""
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        return httpx.Response(200, headers=headers, content=bodies.pop())

    client: Any = httpx.Client(transport=httpx.MockTransport(answer), trust_env=False, verify=False)
    return openai.OpenAI(api_key="sk-x", base_url="http://x", max_retries=0, http_client=client), bodies


def test_failed_attempts_are_counted(matrix: FaultRun) -> None:
    """Each attempt that another provider had to make good is in the metric, under its reason."""
    for (transport, hold), counted in matrix.failed.items():
        promises = [
            promised(case)
            for played_by, case in matrix.outcomes
            if (played_by, case.hold) == (transport, hold)
        ]
        reasons = Counter(promise.reason for promise in promises if promise.end == "failover")
        assert +counted == +reasons, (transport, hold)


def test_paths_are_those_of_the_surfaces() -> None:
    assert {case.surface for case in CASES} == PATHS.keys()
