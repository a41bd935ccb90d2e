"""Which faults of a provider are tried on each translating dialect: every kind, at the moments that differ there."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fakes.client_dialects import TRANSLATED
from tests.fakes.fault_cases import FAULTS, NEVER_BEGUN, NO_HEAD, UNARY, UNARY_WHOLE, WHOLE
from tests.fakes.faults import UNARY_PHASES, Case


def _streams() -> Iterator[Case]:
    for fault in FAULTS:
        # Before the first content, and after it; a flood keeps the machine busy, and is tried once.
        for phase in ("after_role", "mid_content")[fault == "flood" :]:
            yield Case(fault, phase, "chunked")
    for fault in sorted(NO_HEAD):
        yield Case(fault, "before_headers", "chunked")
    # What ends too early, and what ends well without [DONE].
    for phase in ("after_usage", "after_finish", "before_done"):
        for fault in ("reset", "fin", "end", "error_event"):
            yield Case(fault, phase, "chunked")
    yield Case("fin", "before_done", "close")
    for fault in (*NEVER_BEGUN, *WHOLE):
        yield Case(fault, "after_headers" if fault == "comments" else "whole", "chunked")
    yield Case("huge_400", "whole", "length")
    # The commit is there, and no content.
    for fault in ("reset", "stall", "error_event", "malformed"):
        yield Case(fault, "after_role", "chunked", hold="let_go")


def _whole_answers() -> Iterator[Case]:
    for fault in UNARY:
        if fault not in NO_HEAD:
            yield Case(fault, "whole", "chunked", "unary")
            continue
        for phase in UNARY_PHASES:
            yield Case(fault, phase, "length", "unary")
    for fault in UNARY_WHOLE:
        yield Case(fault, "whole", "length", "unary")
    yield Case("fin", "mid_body", "close", "unary")
    yield Case("huge_400", "whole", "chunked", "unary")


def dialect_cases(dialect: str) -> list[Case]:
    """Return the cases of one dialect."""
    return [case._replace(dialect=dialect) for case in (*_streams(), *_whole_answers())]


CASES = [case for dialect in TRANSLATED for case in dialect_cases(dialect)]
