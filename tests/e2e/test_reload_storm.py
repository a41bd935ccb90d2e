"""Changes under load: no failed request, and no request that saw two configurations."""

from __future__ import annotations

import bisect
import time
from typing import Any

import pytest

from tests.e2e.conftest import PLACES, Desk, Launch
from tests.e2e.gateway_process import accepted
from tests.e2e.load import Load
from tests.fakes.upstream import FakeUpstream

_LANES = 3


@pytest.mark.parametrize(("store", "workers"), PLACES)
def test_reload_storm(launch: Launch, fake: FakeUpstream, soak: bool, store: str, workers: int) -> None:
    changes = 1000 if soak else 200 if workers == 2 else 50
    desk = Desk(launch(store, WORKERS=workers), fake)
    lanes = [fake.lane(f"storm{number}-{desk.number}") for number in range(_LANES)]

    def configuration(number: int) -> dict[str, Any]:
        # One write changes URL, key and model: a request that mixes two of them shows it.
        lane = lanes[number % _LANES]
        return {
            "api_base": lane.base_url,
            "api_key": f"sk-{number}",
            "model_mapping": {desk.model: f"upstream-{number}"},
        }

    provider = desk.gateway.create_provider(f"storm-{desk.number}", **configuration(0))
    load = Load(desk, clients=6)
    load.start()
    load.wait_for(10)
    in_force = [(0.0, 0)]
    for number in range(1, changes + 1):
        answer = desk.gateway.admin.put(f"/providers/{provider['id']}", json=configuration(number))
        assert accepted(answer)["id"] == provider["id"]
        in_force.append((time.monotonic(), number))
    outcomes = load.stop()
    failed = [(outcome.status, outcome.text[-300:]) for outcome in outcomes if not outcome.finished]
    assert failed == []
    served = {}
    for number, lane in enumerate(lanes):
        for call in lane.chats:
            version = int(call.json["model"].removeprefix("upstream-"))
            assert call.header("authorization") == f"Bearer sk-{version}"
            assert version % _LANES == number
            served[call.header("x-request-id")] = version
    assert set(served) == {outcome.request_id for outcome in outcomes}
    # A request that began after a write was answered has that write, or a later one.
    moments = [moment for moment, _ in in_force]
    for outcome in outcomes:
        least = in_force[bisect.bisect(moments, outcome.began) - 1][1]
        assert served[outcome.request_id] >= least
    assert len({*served.values()}) > 5, "the load saw next to nothing of the storm"
    assert desk.gateway.stop() == 0
    assert desk.gateway.distress() == []
