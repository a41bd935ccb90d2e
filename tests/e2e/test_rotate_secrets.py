"""SECRET_KEY changes as docs/how-to/rotate-secrets.md says, over two gateways that stay in step all the while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Services
from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.upstream import FakeUpstream
from tests.services import fresh_database

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "rotate-secrets.md"
STEPS = ("old,new", "new,old", "new")


@pytest.fixture(params=["sqlite", "postgresql"])
def shared_url(request: pytest.FixtureRequest, services: Services, tmp_path: Path) -> Iterator[str]:
    """Yield the DB_URL of a fresh database that several gateways share."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/shared.db"
        return
    with fresh_database(services.url_or_skip("PostgreSQL")) as url:
        yield url


class Pair:
    """Two gateways on one database."""

    def __init__(self, launch: Launch, fake: FakeUpstream, url: str) -> None:
        self.gateways = [launch(DB_URL=url, SECRET_KEY="old") for _ in range(2)]
        self.desk = Desk(self.gateways[0], fake)
        self.lane = self.desk.provider()
        self.secrets = 0
        for gateway in self.gateways:
            eventually(lambda: self.chat(gateway, self.desk.key), lambda status: status == 200, 5)  # noqa: B023

    def chat(self, gateway: GatewayProcess, key: str) -> int:
        return gateway.post("/v1/chat/completions", key, json=self.desk.body()).status_code

    def restart(self, gateway: GatewayProcess, secret_key: str) -> None:
        assert gateway.stop() == 0
        gateway.settings["SECRET_KEY"] = secret_key
        gateway.start()

    def check(self, *, all_open: bool = True) -> None:
        """Create and disable keys, and change the provider's secret, on each gateway; both follow."""
        for here, there in (self.gateways, self.gateways[::-1]):
            made = accepted(here.admin.post("/credentials", json={"name": "x"}))
            key, path = made["key"], f"/credentials/{made['id']}"
            for gateway in (here, there):
                eventually(lambda: self.chat(gateway, key), lambda status: status == 200, 5)  # noqa: B023
            accepted(here.admin.patch(path, json={"is_enabled": False}))
            for gateway in (here, there):
                eventually(lambda: self.chat(gateway, key), lambda status: status == 401, 5)  # noqa: B023
            accepted(there.admin.patch(path, json={"is_enabled": True}))
            for gateway in (here, there):
                eventually(lambda: self.chat(gateway, key), lambda status: status == 200, 5)  # noqa: B023
            accepted(there.admin.delete(path))
            for gateway in (here, there):
                eventually(lambda: self.chat(gateway, key), lambda status: status == 401, 5)  # noqa: B023
            if all_open:
                self.secrets += 1
                secret = f"sk-upstream-{self.secrets}"
                accepted(here.admin.patch(f"/providers/{self.lane.name}", json={"api_key": secret}))
                for gateway in (here, there):
                    eventually(lambda: self.sent_by(gateway), lambda sent: sent == f"Bearer {secret}", 5)  # noqa: B023
                    assert gateway.http.get("/health/ready").json() == {"status": "ready"}

    def sent_by(self, gateway: GatewayProcess) -> str | None:
        assert self.chat(gateway, self.desk.key) == 200
        return self.lane.last.header("authorization")


@pytest.fixture
def pair(launch: Launch, fake: FakeUpstream, shared_url: str) -> Pair:
    return Pair(launch, fake, shared_url)


def test_each_step_as_documented_leaves_both_gateways_in_step(pair: Pair) -> None:
    text = PAGE.read_text()
    documented = [f"`{step}`".replace("old", "<old>").replace("new", "<new>") for step in STEPS]
    places = [text.index(step) for step in documented]
    assert places == sorted(places)
    pair.check()
    for step in STEPS:
        for gateway in pair.gateways:
            pair.restart(gateway, step)
            pair.check()
    for gateway in pair.gateways:
        assert gateway.stop() == 0
        assert gateway.distress() == []


def test_a_step_left_out_keeps_no_disabled_key_alive(pair: Pair) -> None:
    first, second = pair.gateways
    pair.check()
    # Both the catalog's secrets and the pepper are under a key now that the second gateway does not have.
    pair.restart(first, "new,old")
    eventually(
        lambda: second.http.get("/health/ready").json(),
        lambda body: pair.lane.name in str(body.get("faults")),
        5,
    )
    pair.check(all_open=False)
    assert pair.sent_by(second) == f"Bearer sk-upstream-{pair.secrets}", (
        "it goes on with the secret that it had"
    )
    assert accepted(second.admin.get(f"/providers/{pair.lane.name}"))["faults"]
    # Started again with the old key alone it could open nothing, and says so.
    second.stop()
    second.launch()
    assert second.wait() == 1
    assert "Traceback" not in second.stderr.read_text()
    assert "rotate-secrets" in second.stderr.read_text()
    second.settings["SECRET_KEY"] = "new,old"
    second.start()
    pair.check()
