"""However a request ends, and whatever dies meanwhile: what it held is given back, and its row counts once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final

import httpx
import pytest

from tests.conftest import Services
from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import GatewayProcess, eventually
from tests.e2e.sql import run_sql
from tests.e2e.test_budgets import USD, add_budget, balance, priced_provider, proxied, row_costs
from tests.e2e.test_kill import workers_of
from tests.fakes.script import Script
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.upstream import FakeUpstream
from tests.services import fresh_database, lent_redis_database

EVENTS: Final = (
    "client leaves",
    "provider fails",
    "worker killed",
    "database gone",
    "redis gone",
    "shutdown",
)
MOMENTS: Final = ("before the first byte", "mid-stream", "after the last byte")
LEASE: Final = 2
CLIENTS: Final = 6
_SLOW: Final = Script(pieces=("word ",) * 8, gap=0.08)


class Place:
    """A gateway of two workers whose database and Redis can go away."""

    def __init__(
        self, stack: ExitStack, services: Services, fake: FakeUpstream, folder: Any, store: str
    ) -> None:
        redis_url, self.redis = proxied(
            stack, stack.enter_context(lent_redis_database(services.url_or_skip("Redis")))
        )
        settings: dict[str, Any] = {"REDIS_URL": redis_url}
        self.database: TcpProxy | None = None
        if store == "postgresql":
            url = stack.enter_context(fresh_database(services.url_or_skip("PostgreSQL")))
            self.direct_url = url
            settings["DB_URL"], self.database = proxied(stack, url)
        self.gateway = GatewayProcess(
            folder, WORKERS=2, BUDGET_LEASE=LEASE, DRAIN_TIMEOUT=0.2, **settings
        ).start()
        stack.callback(self.gateway.close)
        self.desk = Desk(self.gateway, fake)
        self.lane = priced_provider(self.desk)
        self.key = self.desk.key
        add_budget(self.gateway, 1000 * USD)

    def break_database(self) -> None:
        if self.database is not None:
            self.database.cut()
        else:
            run_sql(self.gateway, "ALTER TABLE usage RENAME TO usage_away")
            run_sql(self.gateway, "ALTER TABLE budget_balances RENAME TO balances_away")

    def mend_database(self) -> None:
        if self.database is not None:
            self.database.restore()
        else:
            run_sql(self.gateway, "ALTER TABLE usage_away RENAME TO usage")
            run_sql(self.gateway, "ALTER TABLE balances_away RENAME TO budget_balances")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(
    request: pytest.FixtureRequest,
    services: Services,
    fake: FakeUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack, services, fake, tmp_path_factory.mktemp("endings"), request.param)


class Client(threading.Thread):
    """Reads one stream; leaves at a moment, or reads to the end."""

    def __init__(self, place: Place, leaves: str | None) -> None:
        super().__init__()
        self.place = place
        self.leaves = leaves
        self.first = threading.Event()
        self.last = threading.Event()
        self.status = 0

    def run(self) -> None:
        body = self.place.desk.body(stream=True, max_tokens=1000)
        headers = {"authorization": f"Bearer {self.place.key}"}
        timeout = httpx.Timeout(2 if self.leaves == MOMENTS[0] else 15)
        with suppress(httpx.HTTPError), httpx.Client(timeout=timeout, trust_env=False) as client:
            url = f"{self.place.gateway.origin}/v1/chat/completions"
            with client.stream("POST", url, json=body, headers=headers) as answer:
                self.status = answer.status_code
                for piece in answer.iter_bytes():
                    self.first.set()
                    if self.leaves == MOMENTS[1]:
                        return
                    if b"[DONE]" in piece:
                        self.last.set()
        self.first.set()
        self.last.set()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("event", EVENTS)
def test_nothing_stays_held_and_nothing_counts_twice(place: Place, event: str, moment: str) -> None:
    gateway = place.gateway
    place.lane.default = script_of(event, moment)
    calls_before = len(place.lane.chats)
    clients = [Client(place, moment if event == "client leaves" else None) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    place.lane.wait(lambda chats: len(chats) >= calls_before + CLIENTS)
    if moment == MOMENTS[1]:
        for client in clients:
            assert client.first.wait(15)
    elif moment == MOMENTS[2]:
        for client in clients:
            assert client.last.wait(15)
    strike(place, event)
    for client in clients:
        client.join(20)
    called = {call.header("x-request-id") for call in place.lane.chats[calls_before:]}
    # Every attempt that started has a row, and only one.
    eventually(lambda: called - set(request_ids(gateway)), lambda missing: not missing, 20)
    # After the lease nothing is held, and what is spent is what the rows cost.
    settled = eventually(
        lambda: (balance(gateway), row_costs(gateway)),
        lambda found: found[0] == (found[1], 0),
        3 * LEASE + 20,
    )
    assert settled[0][1] == 0
    stored = request_ids(gateway)
    assert len(set(stored)) == len(stored)
    # And the budget is served as before.
    place.lane.default = Script()
    eventually(lambda: place.desk.chat(max_tokens=4).status_code, lambda status: status == 200, 5)


def request_ids(gateway: GatewayProcess) -> list[str]:
    return [str(row[0]) for row in run_sql(gateway, "SELECT request_id FROM usage")]


def script_of(event: str, moment: str) -> Script:
    if event == "provider fails":
        if moment == MOMENTS[0]:
            return Script(fault="reset")
        if moment == MOMENTS[1]:
            return Script(pieces=("word ",) * 8, gap=0.02, fault="reset", fault_at=4)
        return Script(pieces=("word ",) * 3, framing="close", late=b"garbage")
    if moment == MOMENTS[0]:
        return Script(delay=4 if event == "client leaves" else 0.8)
    return _SLOW if moment == MOMENTS[1] else Script(pieces=("word ",) * 3)


def strike(place: Place, event: str) -> None:
    """Do to the gateway what the case is about."""
    gateway = place.gateway
    if event == "worker killed":
        before = workers_of(gateway.pid)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: workers_of(gateway.pid), lambda now: len(now) == 2 and not set(now) & set(before), 40
        )
        eventually(gateway.is_ready, bool)
    elif event == "database gone":
        place.break_database()
        time.sleep(LEASE + 0.5)
        place.mend_database()
    elif event == "redis gone":
        place.redis.cut()
        time.sleep(0.5)
        place.redis.restore()
    elif event == "shutdown":
        gateway.terminate()
        gateway.wait()
        gateway.start()
