"""Which faults are tried when, and what docs/streams.md promises a client for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.fakes.faults import RESPONSES_PHASES, STREAM_PHASES, UNARY_PHASES, Case

# What a fault is called in the usage row and the metric: (before the commit, after it).
FAULTS = {
    "reset": ("cut", "upstream_cut"),
    "fin": ("cut", "upstream_cut"),
    "end": ("cut", "upstream_cut"),
    "stall": ("timeout", "upstream_timeout"),
    "pings": ("timeout", "upstream_timeout"),
    "flood": ("timeout", "upstream_timeout"),
    "bad_chunk": ("protocol", "upstream_cut"),
    "error_event": ("protocol", "engine_died"),
    "malformed": ("protocol", "upstream_bad_reply"),
    "not_json": ("protocol", "upstream_bad_reply"),
    "error_reason": ("protocol", "upstream_error"),
}
# Before the commit only: there is no answer behind it.
NEVER_BEGUN = {"comments": "cut", "gzip_cut": "cut", "huge_500": "status", "done_alone": "protocol"}
# Ways to write a whole answer, which the client gets as it is.
WHOLE = ("crlf", "cr", "split_utf8", "drip", "gzip", "big_event", "done_open")
UNARY = {
    "reset": "cut",
    "fin": "cut",
    "stall": "timeout",
    "html_body": "protocol",
    "empty_body": "protocol",
    "no_answer": "protocol",
    "error_body": "protocol",
    "gzip_cut": "cut",
    "huge_500": "status",
}
UNARY_WHOLE = ("drip", "gzip", "big_body")
# A flood keeps the machine busy: once before the commit, once after it.
FLOODED = frozenset({"after_headers", "mid_content"})
NO_HEAD = frozenset({"reset", "fin", "stall"})


def chat_cases() -> Iterator[Case]:
    for framing in ("chunked", "close"):
        for phase in STREAM_PHASES:
            for fault in FAULTS:
                if phase == "before_headers" and (fault not in NO_HEAD or framing == "close"):
                    continue
                if framing == "close" and fault in {"end", "bad_chunk"}:
                    # The first is the same as `fin` there, and there are no chunks.
                    continue
                if fault == "flood" and (phase not in FLOODED or framing == "close"):
                    continue
                yield Case(fault, phase, framing)
        yield Case("comments", "after_headers", framing)
        for fault in WHOLE:
            if (fault, framing) != ("done_open", "close"):
                yield Case(fault, "whole", framing)
    for phase in STREAM_PHASES[1:]:
        for fault in ("reset", "fin"):
            yield Case(fault, phase, "length")
    yield Case("gzip_cut", "whole", "chunked")
    yield Case("huge_500", "whole", "chunked")
    yield Case("done_alone", "whole", "chunked")
    yield Case("huge_400", "whole", "length")


def let_go_cases() -> Iterator[Case]:
    """Held events that went out before their time was up: the commit is there without any content."""
    for phase in ("after_ping", "after_role"):
        for fault in ("reset", "fin", "stall", "pings", "error_event", "malformed"):
            yield Case(fault, phase, "chunked", hold="let_go")
    yield Case("flood", "after_ping", "chunked", hold="let_go")


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
    if case.fault in WHOLE:
        return Promise("whole")
    if case.fault in NEVER_BEGUN:
        return Promise("failover", NEVER_BEGUN[case.fault])
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
