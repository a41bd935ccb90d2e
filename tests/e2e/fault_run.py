"""Runs fault cases against gateways, many at once, and notes what client, provider and usage row have of each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.gateway_process import GatewayProcess, eventually
from tests.fakes.client_dialects import DIALECTS, OPENAI
from tests.fakes.fault_server import FaultServer, Visit, fault_server
from tests.fakes.faults import PATHS, Case, text_before
from tests.services import run_alone

# A provider's silence ends after this many seconds: far more than an answer takes here, on a busy machine too.
LLM_TIMEOUT = 12.0
# Cases that wait that long and cost nobody much meanwhile, cases that keep the machine busy, and how many of each
# are played at once, and of the others.
_WAITING = frozenset({"stall", "pings"})
_HEAVY = frozenset({"flood", "big_event", "big_body", "huge_400", "huge_500"})
_WAITING_AT_ONCE, _HEAVY_AT_ONCE, _AT_ONCE = 200, 3, 12
# Nothing takes a client or a provider longer.
_PATIENCE = 45.0
# More than any provider sends.
ALL = 1 << 60
# Held back longer than anything takes, or hardly at all.
_HOLD = {"held": 60.0, "let_go": 0.05}


@dataclass(kw_only=True)
class Outcome:
    """What came of one case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    # Why the client gave up.
    problem: str = ""
    row: dict[str, Any] = field(default_factory=dict)
    # How many requests came to the two providers.
    bad: int = 0
    good: int = 0


class FaultRun:
    """Gateways by (transport, hold), each with the bad provider first in line, and the good one second."""

    def __init__(self, folder: Path, wanted: Iterable[tuple[str, str]], **settings: object) -> None:
        self.gateways = {
            (transport, hold): GatewayProcess(
                folder / f"{transport}-{hold}",
                UPSTREAM_TRANSPORT=transport,
                COMMIT_HOLD=_HOLD[hold],
                LLM_TIMEOUT=LLM_TIMEOUT,
                MAX_RETRIES=0,
                # Bytes are compared.
                RESPONSE_IDS="shared",
                **settings,
            )
            for transport, hold in wanted
        }
        self._keys: dict[tuple[str, str], str] = {}
        self.outcomes: dict[tuple[str, Case], Outcome] = {}
        self.failed: dict[tuple[str, str], Counter[str]] = {}

    def start(self) -> None:
        """Start all of them."""
        for gateway in self.gateways.values():
            gateway.launch()
        for gateway in self.gateways.values():
            eventually(gateway.is_ready, bool, 60)

    def close(self) -> None:
        """End all of them."""
        for gateway in self.gateways.values():
            gateway.close()

    def logs(self) -> str:
        """Return the end of what they wrote."""
        return "\n".join(gateway.log() for gateway in self.gateways.values())

    @contextmanager
    def played(self, wanted: Sequence[tuple[str, Case]]) -> Iterator[None]:
        """Start the gateways and play each case once; at the end, nothing of it has distressed them."""
        try:
            self.start()
            run_alone(self.run(wanted))
            yield
            for gateway in self.gateways.values():
                assert gateway.stop() == 0, gateway.log()
                assert gateway.distress() == [], gateway.log()
        finally:
            self.close()

    async def run(self, wanted: Iterable[tuple[str, Case]]) -> None:
        """Run each case once, many of them at once."""
        async with fault_server() as server, open_client() as client:
            for place, gateway in self.gateways.items():
                prepare(gateway, server)
                self._keys[place] = gateway.create_credential("matrix")
                # The first count of tokens loads a vocabulary, which may take a busy machine longer than LLM_TIMEOUT.
                warm = Case("fin", "mid_content", "chunked", hold=place[1])
                await ask(client, server, gateway, self._keys[place], warm)
            # One after the other: the server knows a case by its name alone.
            for transport in {transport for transport, _ in self.gateways}:
                server.visits.clear()
                server.seen.clear()
                await self._play(client, server, transport, [case for by, case in wanted if by == transport])
        for place, gateway in self.gateways.items():
            self._read_facts(place, gateway)

    async def _play(
        self, client: httpx.AsyncClient, server: FaultServer, transport: str, cases: list[Case]
    ) -> None:
        async def one(case: Case, room: asyncio.Semaphore) -> None:
            place = (transport, case.hold)
            async with room:
                made = await ask(client, server, self.gateways[place], self._keys[place], case)
            self.outcomes[transport, case] = made

        waiting, usual, heavy = map(asyncio.Semaphore, (_WAITING_AT_ONCE, _AT_ONCE, _HEAVY_AT_ONCE))
        light = [case for case in cases if case.fault not in _HEAVY]
        await asyncio.gather(*(one(case, waiting if case.fault in _WAITING else usual) for case in light))
        await asyncio.gather(*(one(case, heavy) for case in cases if case.fault in _HEAVY))

    def _read_facts(self, place: tuple[str, str], gateway: GatewayProcess) -> None:
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in gateway.usage_rows(limit=1000):
            rows.setdefault(row["request_id"], []).append(row)
        for (transport, case), outcome in self.outcomes.items():
            if (transport, case.hold) == place:
                found = rows.get(outcome.headers.get("x-request-id", ""), [])
                assert len(found) <= 1, f"several rows of one request: {found}"
                outcome.row = found[0] if found else {}
        total = gateway.metrics_page()
        reasons = ("connect", "cut", "timeout", "protocol", "status")
        self.failed[place] = Counter(
            {
                reason: int(total("llm_gateway_failed_attempts_total", provider="bad", reason=reason))
                for reason in reasons
            }
        )


def prepare(gateway: GatewayProcess, server: FaultServer) -> None:
    """Add the two providers, for every model there may be: the bad one is always the first to be asked."""
    everything = {"*": "*"}
    gateway.create_provider("bad", server.base_url("bad"), weight=1000, model_mapping=everything)
    gateway.create_provider("good", server.base_url("good"), weight=1, model_mapping=everything)


def open_client() -> httpx.AsyncClient:
    """Return a client with no limits of its own."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    return httpx.AsyncClient(limits=limits, trust_env=False, verify=False, timeout=_PATIENCE)


def path_of(case: Case) -> str:
    """Return where a case is asked for."""
    return PATHS[case.surface] if case.dialect == OPENAI.name else DIALECTS[case.dialect].path


def body_of(case: Case) -> dict[str, Any]:
    """Return the request for a case."""
    if case.surface == "responses":
        return {"model": case.name, "input": "hello", "stream": True}
    return DIALECTS[case.dialect].body(case.name, "hello", stream=case.surface != "unary")


def sees_all(case: Case, body: bytes) -> bool:
    """Tell whether a translated stream has all the text that comes before its fault."""
    return DIALECTS[case.dialect].read_stream(body).text == text_before(case)


async def ask(
    client: httpx.AsyncClient, server: FaultServer, gateway: GatewayProcess, key: str, case: Case
) -> Outcome:
    """Play one case."""
    outcome = Outcome()
    try:
        async with asyncio.timeout(_PATIENCE):
            await _read(client, server, gateway, key, case, outcome)
            # The gateway lets the provider go, whatever became of it.
            for visit in _bad(server, case):
                await visit.over.wait()
    except (TimeoutError, httpx.HTTPError, AssertionError, ValueError) as problem:
        # The last two are of a stream that no client would understand.
        outcome.problem = repr(problem)
    outcome.bad = len(_bad(server, case))
    outcome.good = len(server.visits[case.name]) - outcome.bad
    return outcome


async def _read(
    client: httpx.AsyncClient,
    server: FaultServer,
    gateway: GatewayProcess,
    key: str,
    case: Case,
    outcome: Outcome,
) -> None:
    url = gateway.origin + path_of(case)
    headers = DIALECTS[case.dialect].headers(key)
    # Bytes are not the provider's where they are translated, so that the text has to tell.
    by_text = case.dialect != OPENAI.name and case.committed and case.phase != "whole"
    async with client.stream("POST", url, headers=headers, json=body_of(case)) as answer:
        outcome.status = answer.status_code
        outcome.headers = dict(answer.headers)
        parts = []
        if by_text and not text_before(case):
            server.seen[case.name] = ALL
        async for part in answer.aiter_raw():
            parts.append(part)
            if not by_text:
                server.seen[case.name] += len(part)
            elif sees_all(case, b"".join(parts)):
                server.seen[case.name] = ALL
    outcome.body = b"".join(parts)


def _bad(server: FaultServer, case: Case) -> list[Visit]:
    return [visit for visit in server.visits[case.name] if visit.lane == "bad"]
