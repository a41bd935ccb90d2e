"""Clients of the translating dialects leave at every moment; test_hang_ups.py is about /v1."""

from __future__ import annotations

import asyncio
import statistics

from tests.e2e.conftest import Launch
from tests.e2e.fault_run import path_of, prepare
from tests.e2e.hanging_up import Departure, leave_at
from tests.e2e.test_hang_ups import AT_MOST, WITHIN, rows_of
from tests.fakes.client_dialects import DIALECTS, SETTINGS, TRANSLATED
from tests.fakes.fault_server import fault_server
from tests.fakes.faults import UNARY_PHASES, Case, text_before

PHASES = ("before_headers", "after_headers", "after_role", "mid_content", "before_done")
CASES = [
    case._replace(dialect=dialect)
    for dialect in TRANSLATED
    for case in (
        *(Case("stall", phase, "chunked") for phase in PHASES),
        *(Case("stall", phase, "length", "unary") for phase in UNARY_PHASES),
        Case("pings", "mid_content", "chunked"),
    )
]


async def test_the_provider_is_left_with_the_client(launch: Launch) -> None:
    gateway = launch(COMMIT_HOLD=60, **{**SETTINGS, "LLM_TIMEOUT": 60})
    async with fault_server() as server:
        prepare(gateway, server)
        key = gateway.create_credential("leaver")
        left: list[Departure] = []
        for politely in (True, False):
            leaving = (leave_at(server, gateway.port, key, case, politely=politely) for case in CASES)
            left += await asyncio.gather(*leaving)
        stayed = [one.seconds for one in left]
        assert max(stayed) < AT_MOST
        assert statistics.median(stayed) < WITHIN
        rows = rows_of(gateway, {one.visit.request_id for one in left})
    for visit, _, body in left:
        case, row = visit.case, rows[visit.request_id]
        status = 200 if case.committed else 499
        assert (row["outcome"], row["status_code"], row["attempts"]) == ("aborted", status, 1), case
        assert (row["endpoint"], row["provider"]) == (path_of(case), "bad"), case
        assert row["response_bytes"] == len(body), case
        if case.committed:
            assert row["completion_tokens"] > 0, case
            had = DIALECTS[case.dialect].read_stream(body)
            assert (had.text, had.ended, had.error) == (text_before(case), False, None), case
    assert gateway.metrics("llm_proxy_active_requests") == 0
    assert gateway.stop() == 0, gateway.log()
    assert gateway.distress() == [], gateway.log()
