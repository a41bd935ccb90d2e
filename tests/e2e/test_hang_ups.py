"""A client that leaves takes its provider's connection with it, at every moment, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.fault_run import ask, open_client, prepare
from tests.e2e.gateway_process import GatewayProcess, eventually
from tests.e2e.hanging_up import CASES, Departure, leave_at, storm
from tests.fakes.fault_server import FaultServer, fault_server
from tests.fakes.faults import Case, healthy

# The promise, and what a machine that is busy with other things may make of it.
WITHIN = 1.0
AT_MOST = 10 * WITHIN
# Growth that is no leak: buffers, caches of names, the vocabulary that counts tokens.
RSS_GROWTH = 48 * 1024 * 1024
TRANSPORTS = ("pool", "aiohttp")


@pytest.fixture(params=TRANSPORTS)
def leaving(request: pytest.FixtureRequest, launch: Launch) -> Iterator[GatewayProcess]:
    """Return a gateway on each transport, that holds back until there is content."""
    transport = request.param
    # Bytes are compared, so ids stay as they are.
    gateway = launch(
        UPSTREAM_TRANSPORT=transport, COMMIT_HOLD=60, LLM_TIMEOUT=60, MAX_RETRIES=0, RESPONSE_IDS="shared"
    )
    yield gateway
    assert gateway.stop() == 0, gateway.log()
    assert gateway.distress() == [], gateway.log()


async def test_the_provider_is_left_with_the_client(leaving: GatewayProcess) -> None:
    async with fault_server() as server:
        prepare(leaving, server)
        key = leaving.create_credential("leaver")
        left: list[Departure] = []
        for politely in (True, False):
            leaving_now = (leave_at(server, leaving.port, key, case, politely=politely) for case in CASES)
            left += await asyncio.gather(*leaving_now)
        stayed = [one.seconds for one in left]
        assert max(stayed) < AT_MOST
        assert statistics.median(stayed) < WITHIN
        rows = rows_of(leaving, {one.visit.request_id for one in left})
    for visit, _, _ in left:
        row = rows[visit.request_id]
        status = 200 if visit.case.committed else 499
        assert (row["outcome"], row["status_code"], row["attempts"]) == ("aborted", status, 1), visit.case
        assert row["provider"] == "bad"
        if visit.case.committed:
            assert row["completion_tokens"] > 0, visit.case
    assert leaving.metrics("llm_proxy_active_requests") == 0


def rows_of(gateway: GatewayProcess, request_ids: set[str]) -> dict[str, dict[str, Any]]:
    """Return the one row of each of these requests, and check that no request has two."""

    def look() -> list[dict[str, Any]]:
        return gateway.usage_rows(limit=1000)

    rows = eventually(look, lambda rows: request_ids <= {row["request_id"] for row in rows}, 20)
    times = Counter(row["request_id"] for row in rows)
    assert set(times.values()) <= {1}
    return {row["request_id"]: row for row in rows}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_a_storm_of_hang_ups_leaves_nothing_behind(leaving: GatewayProcess, soak: bool) -> None:
    count = 10_000 if soak else 300
    dice = random.Random(count)
    async with fault_server() as server:
        prepare(leaving, server)
        key = leaving.create_credential("leaver")
        # Whatever is made once, such as idle connections and the vocabulary, is there before the first look.
        await storm(server, leaving.port, key, dice, 80)
        await all_gone(leaving, server)
        await fresh_requests(leaving, server, key)
        files, memory = open_files(leaving), resident(leaving)
        await storm(server, leaving.port, key, dice, count)
        await all_gone(leaving, server)
        await fresh_requests(leaving, server, key)
        assert leaving.metrics("llm_proxy_active_requests") == 0
        # Idle connections come and go; nothing grows with the number of requests.
        assert open_files(leaving) <= files + 30
        assert resident(leaving) - memory < RSS_GROWTH
        visits = [visit for visits in server.visits.values() for visit in visits]
        rows = rows_of(leaving, {visit.request_id for visit in visits})
    assert len(visits) > count / 2
    assert {row["outcome"] for row in rows.values()} <= {"aborted", "ok", "error", "rejected"}
    assert sum(row["outcome"] == "aborted" for row in rows.values()) > count / 4


async def all_gone(gateway: GatewayProcess, server: FaultServer) -> None:
    """Wait until no request is in flight, and no provider is waited for."""
    async with asyncio.timeout(30):
        while gateway.metrics("llm_proxy_active_requests") or server.busy:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


async def fresh_requests(gateway: GatewayProcess, server: FaultServer, key: str) -> None:
    """Ask for a few whole answers, and get them."""
    cases = [Case("drip", "whole", "chunked"), Case("drip", "whole", "length", "unary")]
    async with open_client() as client:
        answers = await asyncio.gather(*(ask(client, server, gateway, key, case) for case in cases * 10))
    for case, answer in zip(cases * 10, answers, strict=True):
        assert (answer.status, answer.problem) == (200, "")
        assert answer.body == b"".join(healthy(case))


def open_files(gateway: GatewayProcess) -> int:
    return len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))


def resident(gateway: GatewayProcess) -> int:
    pages = int(Path(f"/proc/{gateway.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
