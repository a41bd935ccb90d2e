"""A running gateway exposes exactly the metrics of the catalogue, with their types and labels."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llm_gateway.core.metric_catalogue import CATALOGUE, Metric
from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, accepted_text, eventually
from tests.fakes.script import error_script, script
from tests.fakes.upstream import FakeUpstream

Exposed = dict[str, tuple[str, str, set[str]]]


def exposed(gateway: GatewayProcess) -> Exposed:
    """Return type, help and labels of every metric that has a sample."""
    found: Exposed = {}
    for family in text_string_to_metric_families(accepted_text(gateway.http.get("/metrics"))):
        labels = {tuple(sorted(sample.labels.keys() - {"le"})) for sample in family.samples}
        assert len(labels) < 2, family.name
        name = family.name + ("_total" if family.type == "counter" else "")
        for names in labels:
            found[name] = (family.type, family.documentation, set(names))
    return found


def expected(*metrics: Metric) -> Exposed:
    return {metric.name: (metric.type, metric.help, set(metric.labels)) for metric in metrics}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gateway_exposes_exactly_the_catalogue(launch: Launch, fake: FakeUpstream, workers: int) -> None:
    gateway = launch(WORKERS=workers)
    # The requests to the admin API are no metered requests: they add no sample.
    desk = Desk(gateway, fake)
    desk.failing(error_script(500), "bad", weight=10_000)
    desk.provider("good")
    # The price book has this model, and none of the desk's name.
    desk.provider("priced", model_mapping={"gpt-4o": "gpt-4o"}, price_provider="openai")
    assert exposed(gateway) == expected(*(metric for metric in CATALOGUE if metric.appears_after is None))

    # Enough to open a breaker in some worker. Each request differs, so that the cache has no reply for it.
    for number in range(40):
        body = desk.body(stream=bool(number % 2), messages=[{"role": "user", "content": str(number)}])
        headers = {"x-llm-gateway-cache": "on"}
        answer = gateway.post("/v1/chat/completions", desk.key, json=body, headers=headers)
        assert answer.status_code == 200
    assert desk.chat(model="gpt-4o").status_code == 200
    desk.provider("cutting", model_mapping={"cut": "up"})
    assert "[DONE]" not in desk.chat(model="cut", stream=True, fake=script(fault="fin", fault_at=4)).text
    blocked = desk.credential("-blocked", limits={"requests_per_day": 0})
    assert gateway.post("/v1/chat/completions", blocked, json=desk.body()).status_code == 429
    budget = {"name": "all", "scope": "all", "amount_usd": "10", "period": "total"}
    accepted(gateway.admin.post("/budgets", json=budget))
    assert desk.chat(model="gpt-4o").status_code == 200
    eventually(lambda: exposed(gateway), lambda found: found == expected(*CATALOGUE))
