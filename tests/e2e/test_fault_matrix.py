"""Every fault of a provider at every moment: another one answers and nobody knows, or the client hears of it.

docs/streams.md has the table of what is promised; its rows are the faults here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from tests.e2e.fault_run import FaultRun
from tests.fakes.faults import (
    BEFORE_CONTENT,
    PATHS,
    PING,
    RESPONSES_PHASES,
    STREAM_PHASES,
    UNARY_PHASES,
    Case,
    before,
    healthy,
    rewritten,
)
from tests.services import run_alone

TRANSPORTS = ("pool", "aiohttp")
# What a fault is called in the usage row and the metric: (before the commit, after it).
FAULTS = {
    "reset": ("cut", "upstream_cut"),
    "fin": ("cut", "upstream_cut"),
    "end": ("cut", "upstream_cut"),
    "stall": ("timeout", "upstream_timeout"),
    "pings": ("timeout", "upstream_timeout"),
    "flood": ("timeout", "upstream_timeout"),
    "error_event": ("protocol", "engine_died"),
    "malformed": ("protocol", "upstream_bad_reply"),
    "not_json": ("protocol", "upstream_bad_reply"),
}
# Before the commit only: there is no more of the answer.
EMPTY = {"comments": "cut"}
# Ways to write a whole answer, which the client gets as it is.
WHOLE = ("crlf", "cr", "split_utf8", "drip", "gzip", "big_event", "done_open")
UNARY = {
    "reset": "cut",
    "fin": "cut",
    "stall": "timeout",
    "html_body": "protocol",
    "empty_body": "protocol",
    "error_body": "protocol",
    "gzip_cut": "cut",
    "huge_500": "status",
}
UNARY_WHOLE = ("drip", "gzip", "big_body")
NO_HEAD = frozenset({"reset", "fin", "stall"})


def chat_cases() -> Iterator[Case]:
    for framing in ("chunked", "close"):
        for phase in STREAM_PHASES:
            for fault in FAULTS:
                if phase == "before_headers" and (fault not in NO_HEAD or framing == "close"):
                    continue
                if framing == "close" and fault == "end":
                    # The same as `fin`.
                    continue
                if fault == "flood" and phase not in {"after_headers", "mid_content"}:
                    continue
                yield Case(fault, phase, framing)
        for fault in EMPTY:
            yield Case(fault, "after_headers", framing)
        for fault in WHOLE:
            if (fault, framing) != ("done_open", "close"):
                yield Case(fault, "whole", framing)
    yield Case("gzip_cut", "whole", "chunked")
    yield Case("huge_500", "whole", "chunked")
    yield Case("huge_400", "whole", "length")


def let_go_cases() -> Iterator[Case]:
    """Held events that went out before their time was up: the commit is there without any content."""
    for phase in ("after_ping", "after_role"):
        for fault in ("reset", "fin", "stall", "pings", "flood", "error_event", "malformed"):
            yield Case(fault, phase, "chunked", hold="let_go")


def responses_cases() -> Iterator[Case]:
    for phase in RESPONSES_PHASES:
        for fault in ("reset", "fin", "end", "stall", "pings", "error_event", "malformed"):
            if phase != "before_headers" or fault in NO_HEAD:
                yield Case(fault, phase, "chunked", "responses")
    for fault in ("crlf", "drip", "gzip", "done_open"):
        yield Case(fault, "whole", "chunked", "responses")


def unary_cases() -> Iterator[Case]:
    for framing in ("length", "chunked", "close"):
        for fault in UNARY:
            if fault not in NO_HEAD:
                yield Case(fault, "whole", framing, "unary")
                continue
            for phase in UNARY_PHASES:
                if phase != "before_headers" or framing == "length":
                    yield Case(fault, phase, framing, "unary")
        for fault in UNARY_WHOLE:
            yield Case(fault, "whole", framing, "unary")
    yield Case("huge_400", "whole", "chunked", "unary")


CASES = [*chat_cases(), *let_go_cases(), *responses_cases(), *unary_cases()]
ALL = [(transport, case) for transport in TRANSPORTS for case in CASES]


class Promise(NamedTuple):
    """What a client is to see: the good provider's answer, the bad one's whole, a cut one, or a refusal."""

    end: str
    # Why the attempt failed, or what the error event says.
    reason: str = ""


def promised(case: Case) -> Promise:
    """Say what docs/streams.md promises."""
    if case.fault == "huge_400":
        return Promise("refused")
    if case.surface == "unary":
        return _promised_unary(case)
    if case.fault in EMPTY:
        return Promise("failover", EMPTY[case.fault])
    if case.fault in WHOLE:
        return Promise("whole")
    if case.fault == "gzip_cut":
        return Promise("failover", "cut")
    if case.fault == "huge_500":
        return Promise("failover", "status")
    early, late = FAULTS[case.fault]
    if not case.committed:
        return Promise("failover", early)
    ended_well = case.fault == "end" or (case.fault == "fin" and case.framing == "close")
    if ended_well and case.surface == "chat" and case.phase in {"after_finish", "before_done"}:
        return Promise("completed")
    return Promise("error", late)


def _promised_unary(case: Case) -> Promise:
    if case.fault in UNARY_WHOLE:
        return Promise("whole")
    if case.fault in {"fin", "gzip_cut"} and case.framing == "close" and case.phase != "before_headers":
        # Half a JSON text, in a body that says of itself that it is whole.
        return Promise("failover", "protocol")
    return Promise("failover", UNARY[case.fault])


@pytest.fixture(scope="module")
def matrix(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultRun]:
    """Return the outcome of every case of this session, all of them played once and at the same time."""
    params = (getattr(item, "callspec", None) for item in request.session.items if item.path == request.path)
    wanted = [(one.params["transport"], one.params["case"]) for one in params if one and "case" in one.params]
    run = FaultRun(
        tmp_path_factory.mktemp("faults"), sorted({(transport, case.hold) for transport, case in wanted})
    )
    try:
        run.start()
        run_alone(run.run(wanted))
        yield run
        for gateway in run.gateways.values():
            assert gateway.stop() == 0, gateway.log()
            assert gateway.distress() == [], gateway.log()
    finally:
        run.close()


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
    """Check that what came went on, that an error event is the last, and that the row tells of both."""
    came = b"".join(before(case))
    assert body.startswith(came)
    rest = body[len(came) :].replace(PING, b"")
    events = re.findall(rb"data: (.*)\n\n", rest)
    assert len(events) == 1, rest[-600:]
    error = json.loads(events[0])["error"]
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

    client = httpx.Client(transport=httpx.MockTransport(answer), trust_env=False, verify=False)
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
