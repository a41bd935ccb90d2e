"""A change of the configuration reaches the next request of a connection, although its head is known already."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import PLACES, Desk, Launch
from tests.e2e.gateway_process import accepted, eventually
from tests.e2e.sql import run_sql
from tests.fakes.script import Script
from tests.fakes.upstream import FakeUpstream

# Enough that each of two workers has some.
_CONNECTIONS = 6
# The third request with the same head is the first one without a task.
_WARM_UPS = 3


class Wire:
    """One connection. Every request is sent in one piece, as few clients do, and all have the same head."""

    def __init__(self, origin: str, key: str) -> None:
        at = urlsplit(origin)
        assert at.hostname is not None
        assert at.port is not None
        self._socket = socket.create_connection((at.hostname, at.port), timeout=15)
        self._input: BinaryIO = self._socket.makefile("rb")
        self._key = key

    def ask(self, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """Return the status, the headers and the body of the answer."""
        content = json.dumps(body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self._key}\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + content)
        status = int(self._input.readline().split()[1])
        headers = {}
        while line := self._input.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers, self._input.read(int(headers["content-length"]))

    def close(self) -> None:
        self._input.close()
        self._socket.close()


@contextmanager
def warm_connections(desk: Desk, key: str) -> Iterator[list[Wire]]:
    """Yield connections on which the next request has a known head."""
    with ExitStack() as stack:
        wires = [Wire(desk.gateway.origin, key) for _ in range(_CONNECTIONS)]
        for wire in wires:
            stack.callback(wire.close)
            for _ in range(_WARM_UPS):
                assert wire.ask(desk.body())[0] == 200
        yield wires


def test_a_changed_credential_is_in_force_at_the_next_request(pair_desk: Desk) -> None:
    pair_desk.provider()
    admin = pair_desk.gateway.admin
    made = accepted(admin.post("/credentials", json={"name": f"repeating-{pair_desk.number}"}))
    changes: list[tuple[dict[str, Any], int]] = [
        ({"is_enabled": False}, 401),
        ({"is_enabled": True}, 200),
        ({"allowed_models": ["another"]}, 403),
        ({"allowed_models": ["*"], "rate_limit": 0}, 429),
        ({"rate_limit": None}, 200),
        ({"limits": {"requests_per_minute": 0}}, 429),
        ({"limits": None, "require_pricing": True}, 403),
        ({"require_pricing": False}, 200),
    ]
    with warm_connections(pair_desk, made["key"]) as wires:
        for change, status in changes:
            accepted(admin.patch(f"/credentials/{made['id']}", json=change))
            assert [wire.ask(pair_desk.body())[0] for wire in wires] == [status] * len(wires), change
        admin.delete(f"/credentials/{made['id']}")
        assert [wire.ask(pair_desk.body())[0] for wire in wires] == [401] * len(wires)


def test_a_changed_provider_is_in_force_at_the_next_request(pair_desk: Desk) -> None:
    first = pair_desk.provider("first")
    admin = pair_desk.gateway.admin
    with warm_connections(pair_desk, pair_desk.key) as wires:
        second = pair_desk.provider("second", weight=0)
        for heavy, light in [(second, first), (first, second)]:
            accepted(admin.patch(f"/providers/{heavy.name}", json={"weight": 1}))
            accepted(admin.patch(f"/providers/{light.name}", json={"weight": 0}))
            before = len(heavy.chats), len(light.chats)
            assert [wire.ask(pair_desk.body())[0] for wire in wires] == [200] * len(wires)
            assert (len(heavy.chats), len(light.chats)) == (before[0] + len(wires), before[1])
        accepted(admin.patch(f"/providers/{first.name}", json={"api_key": "sk-renewed"}))
        before_renewal = len(first.chats)
        assert [wire.ask(pair_desk.body())[0] for wire in wires] == [200] * len(wires)
        keys = {dict(call.headers)["authorization"] for call in first.chats[before_renewal:]}
        assert keys == {"Bearer sk-renewed"}
        for lane in (first, second):
            accepted(admin.patch(f"/providers/{lane.name}", json={"is_enabled": False}))
        assert [wire.ask(pair_desk.body())[0] for wire in wires] == [404] * len(wires)


@pytest.mark.parametrize("fields", [{}, {"temperature": 0.5, "user": "ann"}], ids=["plain", "more fields"])
def test_every_repeated_request_has_its_row(pair_desk: Desk, fields: dict[str, Any]) -> None:
    pair_desk.provider()
    with warm_connections(pair_desk, pair_desk.key) as wires:
        answers = [wire.ask(pair_desk.body(**fields)) for wire in wires for _ in range(3)]
    assert {status for status, _, _ in answers} == {200}
    ids = {headers["x-request-id"] for _, headers, _ in answers}
    assert len(ids) == len(answers)

    def rows() -> list[dict[str, Any]]:
        found = pair_desk.gateway.usage_rows(model=pair_desk.model, limit=200)
        return [row for row in found if row["request_id"] in ids]

    stored = eventually(rows, lambda some: len(some) == len(ids))
    assert {(row["outcome"], row["status_code"], row["attempts"]) for row in stored} == {("ok", 200, 1)}
    assert {row["provider"] for row in stored} == {f"main-{pair_desk.number}"}


@pytest.mark.parametrize(("store", "workers"), PLACES)
def test_a_forced_stop_blames_no_client(launch: Launch, fake: FakeUpstream, store: str, workers: int) -> None:
    """The second signal ends what waits for its provider: the client gets an answer, and the row says why."""
    gateway = launch(store, WORKERS=workers, DRAIN_TIMEOUT=30)
    desk = Desk(gateway, fake)
    lane = desk.provider()
    with warm_connections(desk, desk.key) as wires, ThreadPoolExecutor(len(wires)) as threads:
        lane.default = Script(delay=20)
        calls = len(lane.chats)
        answers = [threads.submit(wire.ask, desk.body()) for wire in wires]
        lane.wait(lambda chats: len(chats) == calls + len(wires))
        gateway.terminate()
        # Sooner, it would be taken for the same signal.
        time.sleep(1.2)
        gateway.terminate()
        assert [answer.result(15)[0] for answer in answers] == [503] * len(wires)
    gateway.wait()
    outcomes = Counter(str(row[0]) for row in run_sql(gateway, "SELECT outcome FROM usage"))
    assert outcomes == {"ok": _WARM_UPS * len(wires), "interrupted": len(wires)}
