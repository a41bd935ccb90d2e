"""A scene in which something of everything happens, for dashboards: each of their panels has something to show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.e2e.scene import PATH, Scene
from tests.fakes.script import error_script, script
from tests.fakes.upstream import FakeUpstream

ALL_USD = "10"
SPENDER_USD = "0.0002"


class BusyScene(Scene):
    """Adds tenants and credentials, refusals, budgets, cached replies, unknown prices and an open breaker."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream) -> None:
        super().__init__(gateway, fake)
        desk = self.desk
        self.unpriced = desk.provider(
            "unpriced", model_mapping={"brand-new": "brand-new"}, price_provider="openai"
        )
        # Two thirds of the model's traffic cannot go elsewhere, so that breakers are ignored: one success closes it.
        self.tripping = desk.provider("tripping", model_mapping={"tripping": "up"}, weight=1_000_000)
        self.spare = desk.provider("spare", model_mapping={"tripping": "up"})
        accepted(gateway.admin.post("/tenants", json={"name": "research"}))
        self.research = desk.credential("-research", tenant="research")
        self.blocked = desk.credential("-blocked", limits={"requests_per_day": 0})
        self.narrow = desk.credential("-narrow", allowed_models=["else"])
        self.spender = desk.credential("-spender")
        self.patient = desk.credential("-patient", limits={"concurrent_requests": 5})
        for name, amount, scope in (
            ("everything", ALL_USD, {"scope": "all"}),
            ("spender", SPENDER_USD, {"scope": "credential", "subject": f"desk-{desk.number}-spender"}),
        ):
            budget = {"name": name, "amount_usd": amount, "period": "total", **scope}
            accepted(gateway.admin.post("/budgets", json=budget))
        self._loads = 0

    def ask(self) -> None:
        super().ask()
        self._loads += 1
        for number in range(6):
            self.chat(200, self.research, model="gpt-4o", stream=bool(number % 2))
        for _ in range(3):
            self.chat(200, model="brand-new")
        self.chat(200, stream=True, fake=script(pieces=("a", "b"), fault="reset", fault_at=3))
        question = [{"role": "user", "content": f"question {self._loads}"}]
        for _ in range(4):
            self.chat(200, cache="on", messages=question)
        self.chat(200, cache="bypass", messages=question)
        for _ in range(2):
            self.chat(429, self.blocked)
        self.chat(403, self.narrow)
        self.chat(401, "sk-nobody")
        self.chat(400, messages="none")
        while self.chat(None, self.spender, model="gpt-4o", max_tokens=4) == 200:
            pass
        self.trip()

    def trip(self) -> None:
        """Open one breaker, and leave it open."""
        self.chat(200, model="tripping")
        while self.gateway.metrics("llm_gateway_open_breakers", provider=self.tripping.name):
            self.chat(200, model="tripping")
        self.tripping.next.append(error_script(429, retry_after="60"))
        self.chat(200, model="tripping")
        eventually(
            lambda: self.gateway.metrics("llm_gateway_open_breakers", provider=self.tripping.name),
            lambda number: number == 1,
        )

    @contextmanager
    def open_stream(self) -> Iterator[None]:
        """Keep one stream open, of a credential with a limit of concurrent requests."""
        body = self.desk.body(stream=True, fake=script(pieces=("a", "b"), fault="stall", fault_at=3))
        headers = {"authorization": f"Bearer {self.patient}"}
        with (
            httpx.Client(base_url=self.gateway.origin, trust_env=False, verify=False, timeout=15) as client,
            client.stream("POST", PATH, headers=headers, json=body) as answer,
        ):
            assert answer.status_code == 200
            # The other worker shows its connections a moment later.
            eventually(lambda: self.gateway.metrics("llm_gateway_upstream_connections", state="busy"), bool)
            yield
