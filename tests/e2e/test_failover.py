"""A provider that fails before the commit is skipped for the request at hand, and shares are exact (S4.1, S4.61)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Desk
from tests.fakes.calls import Lane
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream
from tests.services import free_port

STORE_MATTERS = False

FAULTS = {
    "reset after the head": Script(fault="reset", fault_at=0),
    "FIN after the head": Script(fault="fin", fault_at=0),
    "401": error_script(401),
    "429": error_script(429),
    "429 with Retry-After": error_script(429, retry_after="30"),
    "500": error_script(500),
    "503": error_script(503),
    "200 that is no JSON": Script(
        body=b"<html>oops</html>", content_type="application/json", ignore_stream=True
    ),
}
WHOLE_ONLY = {
    "body shorter than it claims": Script(content_length=5000),
    "reset in mid-body": Script(fault="reset", fault_at=50),
    "FIN in mid-body": Script(fault="fin", fault_at=50),
    "200 with no body": Script(body=b""),
}
STREAM_ONLY = {
    "reset after the role": Script(fault="reset", fault_at=1),
    "FIN after the role": Script(fault="fin", fault_at=1),
    "an empty stream": Script(events=(), done=False),
    "an error event first": Script(
        events=('{"error":{"message":"overloaded","type":"server_error","code":null,"param":null}}',),
        done=False,
    ),
}
CASES = (
    [pytest.param(False, plan, id=f"whole: {name}") for name, plan in (FAULTS | WHOLE_ONLY).items()]
    + [pytest.param(True, plan, id=f"stream: {name}") for name, plan in (FAULTS | STREAM_ONLY).items()]
)  # fmt: skip


def content(answer: Any, stream: bool) -> str:
    """Check that the answer is whole and came from the good provider."""
    assert answer.status_code == 200, answer.text
    if stream:
        assert answer.text.rstrip().endswith("data: [DONE]")
    return str(answer.text)


@pytest.mark.parametrize(("stream", "plan"), CASES)
def test_s0_8_s3_3_failover_before_the_commit(desk: Desk, stream: bool, plan: Script) -> None:
    bad = desk.failing(plan, "bad")
    good = desk.provider("good")
    for _ in range(2):
        answer = desk.chat(stream=stream)
        text = content(answer, stream)
        assert f"chatcmpl-fake{good.last.number}" in text
        assert (
            "chatcmpl-fake" + str(bad.calls[0].number if bad.calls else 0) not in text.split('"id":"')[1][:40]
        )
    # Of two requests one visits the bad one first, and no request visits anybody twice.
    assert (len(bad.chats), len(good.chats)) == (1, 2)
    ids = [call.header("x-request-id") for call in bad.chats + good.chats]
    assert sorted(Counter(ids).values()) == [1, 2]
    rows = [desk.gateway.usage_row(str(call.header("x-request-id"))) for call in good.chats]
    assert sorted(row["attempts"] for row in rows) == [1, 2]
    assert {(row["outcome"], row["provider"]) for row in rows} == {("ok", good.name)}


@pytest.fixture
def lonely() -> Iterator[FakeUpstream]:
    """Return a fake with an address of its own, to which no connection is open yet."""
    started = FakeUpstream().start()
    yield started
    started.stop()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["reset", "fin"])
def test_failover_before_the_head(desk: Desk, lonely: FakeUpstream, stream: bool, fault: Any) -> None:
    bad = lonely.lane("bad")
    bad.default = Script(fault=fault)
    desk.provider("bad", api_base=bad.base_url)
    good = desk.provider("good")
    for _ in range(2):
        content(desk.chat(stream=stream), stream)
    assert (len(bad.chats), len(good.chats)) == (1, 2)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["reset", "fin"])
def test_a_dead_idle_connection_is_not_the_providers_fault(
    desk: Desk, lonely: FakeUpstream, stream: bool, fault: Any
) -> None:
    """A kept-alive connection that ends before any byte of the reply: the request goes once more, on a fresh one."""
    lane = lonely.lane("only")
    desk.provider("only", api_base=lane.base_url)
    assert desk.chat().status_code == 200
    lane.next.append(Script(fault=fault))
    answer = desk.chat(stream=stream)
    content(answer, stream)
    assert len(lane.chats) == 3
    row = desk.gateway.usage_row(answer.headers["x-request-id"])
    assert (row["outcome"], row["attempts"]) == ("ok", 1)


@pytest.mark.parametrize("stream", [False, True])
def test_failover_on_connect_error(desk: Desk, stream: bool) -> None:
    desk.provider("dead", api_base=f"http://127.0.0.1:{free_port()}/v1")
    good = desk.provider("good")
    for _ in range(4):
        content(desk.chat(stream=stream), stream)
    assert len(good.chats) == 4


@pytest.mark.parametrize("stream", [False, True])
def test_failover_on_timeout_tries_no_dead_line(strict_desk: Desk, stream: bool) -> None:
    """LLM_TIMEOUT before the commit: the next one is asked, and answers."""
    slow = strict_desk.failing(Script(delay=30), "slow")
    good = strict_desk.provider("good")
    for _ in range(2):
        content(strict_desk.chat(stream=stream), stream)
    assert len(good.chats) == 2
    slow.wait(lambda calls: len(calls) == 1 and calls[0].left)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 403, 409, 422])
def test_c32_the_clients_own_fault_is_not_tried_again(desk: Desk, stream: bool, status: int) -> None:
    lanes = [desk.failing(error_script(status), "one"), desk.failing(error_script(status), "two")]
    assert desk.chat(stream=stream).status_code == status
    assert sum(len(lane.chats) for lane in lanes) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_each_is_tried_once_and_then_the_last_failure_is_told(desk: Desk, stream: bool) -> None:
    lanes = [
        desk.failing(Script(fault="reset", fault_at=0), "one"),
        desk.failing(error_script(500), "two"),
        desk.failing(error_script(401), "three"),
    ]
    answer = desk.chat(stream=stream)
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/json"
    assert [len(lane.chats) for lane in lanes] == [1, 1, 1]
    row = desk.gateway.usage_row(answer.headers["x-request-id"])
    assert (row["outcome"], row["attempts"], row["status_code"]) == ("error", 3, 502)
    assert row["provider"] in {lane.name for lane in lanes}


def test_s3_9_all_over_their_limits_is_429_with_retry_after(desk: Desk) -> None:
    desk.failing(error_script(429, retry_after="3"), "one")
    desk.failing(error_script(429, retry_after="3"), "two")
    answer = desk.chat()
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3"
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_nothing_is_tried_again_after_the_commit(desk: Desk) -> None:
    desk.failing(Script(fault="reset", fault_at=4), "one")
    desk.failing(Script(fault="reset", fault_at=4), "two")
    answer = desk.chat(stream=True)
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text
    assert sum(len(desk.fake.lane(f"{name}-{desk.number}").chats) for name in ("one", "two")) == 1


def shares(lanes: list[Lane]) -> list[int]:
    return [len(lane.chats) for lane in lanes]


def test_s4_61_shares_are_exact_in_every_cycle(desk: Desk) -> None:
    weights = (5, 3, 1)
    lanes = [desk.provider(f"w{weight}", weight=weight) for weight in weights]
    for cycle in range(1, 4):
        for _ in range(sum(weights)):
            assert desk.chat().status_code == 200
        assert shares(lanes) == [weight * cycle for weight in weights]


async def test_s4_1_s4_61_shares_are_exact_at_once(desk: Desk) -> None:
    lanes = [desk.provider(f"w{weight}", weight=weight) for weight in (4, 2, 1)]
    async with desk.async_sdk as client:
        asked = [
            client.chat.completions.create(model=desk.model, messages=[{"role": "user", "content": "x"}])
            for _ in range(70)
        ]
        await asyncio.gather(*asked)
    assert shares(lanes) == [40, 20, 10]


def test_s4_1_c1_the_order_is_smooth(desk: Desk) -> None:
    lanes = [desk.provider("a", weight=5), desk.provider("b", weight=1), desk.provider("c", weight=1)]
    for _ in range(14):
        desk.chat()
    calls = sorted((call.number, lane.name[0]) for lane in lanes for call in lane.chats)
    order = "".join(name for _, name in calls)
    assert order[:7] == order[7:] == "aabacaa"


def test_a_reload_does_not_reset_fairness(desk: Desk) -> None:
    lanes = [desk.provider("a", weight=2), desk.provider("b", weight=1)]
    for number in range(30):
        assert desk.chat().status_code == 200
        # A change that has nothing to do with this route.
        desk.gateway.admin.patch(f"/providers/{lanes[0].name}", json={"api_key": f"sk-{number}-changed"})
    assert shares(lanes) == [20, 10]


def test_new_weights_act_at_once(desk: Desk) -> None:
    lanes = [desk.provider("a", weight=1), desk.provider("b", weight=1)]
    for _ in range(4):
        desk.chat()
    desk.gateway.admin.patch(f"/providers/{lanes[1].name}", json={"weight": 3})
    for _ in range(8):
        desk.chat()
    assert shares(lanes) == [4, 8]
