"""Draws the pictures of docs/monitoring.md anew: `python -m tests.e2e.draw_pictures`, which takes six minutes.

A gateway of two workers serves made-up clients from fake providers, one of which fails for a while; a real Prometheus
scrapes it, and `monitoring.pictures` draws what the panels show of it.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx

from monitoring import pictures
from tests.e2e.gateway_process import GatewayProcess, accepted
from tests.e2e.scene import PATH
from tests.fakes.calls import Lane
from tests.fakes.prometheus_server import PrometheusServer
from tests.fakes.script import Tokens, error_script, script
from tests.fakes.upstream import FakeUpstream
from tests.services import find_postgres, find_prometheus, find_redis, fresh_database, lent_redis_database

MINUTES: Final = 5.0
_CLIENTS: Final = 6
# What clients ask for: the model, how often, and the seconds to its first token.
_MODELS: Final = {"gpt-4o": (3, 0.35), "gpt-4o-mini": (6, 0.12), "in-house": (1, 0.2)}
_KEYS: Final = {"search": ("research", 5), "support-bot": ("service", 3), "nightly-batch": (None, 1)}
_FAILING: Final = (0.45, 0.6)


class MadeUpClients:
    """Clients whose traffic comes in waves."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream, minutes: float) -> None:
        self._gateway = gateway
        self._began = time.monotonic()
        self._seconds = minutes * 60
        mapping = {"gpt-4o": "gpt-4o", "gpt-4o-mini": "gpt-4o-mini"}
        self._failing = self._provider(
            fake, "openai-eu", weight=3, model_mapping=mapping, price_provider="openai"
        )
        self._provider(fake, "openai-us", weight=2, model_mapping=mapping, price_provider="openai")
        self._provider(fake, "own-cluster", model_mapping={"in-house": "llama"})
        for tenant in ("research", "service"):
            accepted(gateway.admin.post("/tenants", json={"name": tenant}))
        self._keys = {
            name: gateway.create_credential(
                name, limits={"concurrent_requests": 50}, **({"tenant": tenant} if tenant else {})
            )
            for name, (tenant, _) in _KEYS.items()
        }
        self._blocked = gateway.create_credential("trial", limits={"requests_per_minute": 10})
        for budget in (
            {"name": "everything", "scope": "all", "amount_usd": "30"},
            {"name": "research", "scope": "tenant", "subject": "research", "amount_usd": "8"},
        ):
            accepted(gateway.admin.post("/budgets", json=budget | {"period": "month"}))

    def _provider(self, fake: FakeUpstream, name: str, **fields: Any) -> Lane:
        lane = fake.lane(name)
        self._gateway.create_provider(name, api_base=lane.base_url, **fields)
        return lane

    def _passed(self) -> float:
        return (time.monotonic() - self._began) / self._seconds

    def run(self) -> None:
        """Chat until the time is over."""
        threads = [threading.Thread(target=self._chat, args=(number,)) for number in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _chat(self, number: int) -> None:
        chance = random.Random(number)
        with httpx.Client(base_url=self._gateway.origin, trust_env=False, verify=False, timeout=30) as client:
            while (passed := self._passed()) < 1:
                wave = 1 + 0.6 * math.sin(passed * 9) + 0.3 * math.sin(passed * 31)
                time.sleep(chance.expovariate(2.0 * wave))
                if _FAILING[0] < passed < _FAILING[1]:
                    self._failing.next.append(error_script(500))
                else:
                    self._failing.next.clear()
                self._ask(client, chance)

    def _ask(self, client: httpx.Client, chance: random.Random) -> None:
        kind = chance.random()
        if kind < 0.02:
            body: dict[str, Any] = {"model": "gpt-5-typo", "messages": []}
        else:
            body = self._body(chance)
        names = [*_KEYS]
        [name] = chance.choices(names, [_KEYS[one][1] for one in names])
        key = "sk-old" if kind > 0.99 else self._blocked if kind > 0.95 else self._keys[name]
        headers = {"authorization": f"Bearer {key}"}
        if chance.random() < 0.15:
            headers["x-llm-gateway-cache"] = "on"
            body = {"model": "gpt-4o-mini", "messages": body["messages"], "user": "u"}
        client.post(PATH, headers=headers, json=body)

    def _body(self, chance: random.Random) -> dict[str, Any]:
        [model] = chance.choices([*_MODELS], [often for often, _ in _MODELS.values()])
        delay = chance.lognormvariate(math.log(_MODELS[model][1]), 0.5)
        tokens = Tokens(prompt=chance.randrange(200, 1500), completion=chance.randrange(50, 600))
        stream = chance.random() < 0.6
        question = f"question {chance.randrange(30)}"
        pieces = tuple(f"word {number} " for number in range(12))
        plan = script(delay=delay, tokens=tokens, **({"gap": delay / 8, "pieces": pieces} if stream else {}))
        if model == "in-house" and chance.random() < 0.05:
            plan = script(status=500)
        if stream and chance.random() < 0.01:
            plan = script(pieces=pieces, fault="reset", fault_at=5)
        return {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "stream": stream,
            "fake": plan,
            "max_tokens": 600,
        }


def main() -> None:
    """Draw docs/pictures."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [find_postgres(), find_redis()]
        for server in servers:
            stack.callback(server.stop)
        gateway = GatewayProcess(
            folder / "gateway",
            WORKERS=2,
            DB_URL=stack.enter_context(fresh_database(servers[0].url)),
            REDIS_URL=stack.enter_context(lent_redis_database(servers[1].url)),
        )
        stack.callback(gateway.close)
        gateway.start()
        fake = FakeUpstream().start()
        stack.callback(fake.stop)
        targets = {"llm-gateway": [gateway.origin]}
        programs = Path(find_prometheus().url)
        prometheus = stack.enter_context(
            PrometheusServer(programs, folder / "prometheus", targets, interval=1.0)
        )
        prometheus.wait_until_up()
        MadeUpClients(gateway, fake, minutes).run()
        pictures.main(["--prometheus", prometheus.url, "--minutes", str(minutes), "--scrape", "2.5"])


if __name__ == "__main__":
    main()
