"""Usage leaves the gateway as files, is compared with a bill, and gets new costs when prices were wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.upstream import FakeUpstream

PATH = "/v1/chat/completions"
# The fake states 9 and 4 tokens.
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
# 9 x 1 + 4 x 2 USD, so that bills are not a matter of fractions of a cent.
PRICES = {"input_tokens": "1000000", "output_tokens": "2000000"}
COST = Decimal(17)


class House:
    """A gateway with one priced provider, and the commands beside it."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream) -> None:
        self.gateway = gateway
        self.lane = fake.lane(f"billing-{gateway.port}")
        gateway.create_provider("main", self.lane.base_url, model_mapping={"m": "up"})
        self.key = gateway.create_credential("team")
        body = {"provider": "main", "upstream_model": "up", "prices": PRICES, "confirm_magnitude": True}
        self.price = accepted(gateway.admin.post("/prices", json=body))["id"]

    def ask(self, count: int) -> None:
        for _ in range(count):
            assert self.gateway.post(PATH, self.key, json=ASKED).status_code == 200
        eventually(self.rows, lambda rows: len(rows) >= count)

    def rows(self) -> list[dict[str, Any]]:
        return self.gateway.usage_rows()

    def export(self, form: str, **query: str) -> str:
        answer = self.gateway.admin.get("/usage/export", params={"format": form, **query})
        assert answer.status_code == 200, answer.text
        return answer.text

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the gateway's settings, while it runs."""
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "llm_gateway", "usage", *arguments],
            cwd=self.gateway.folder, env=environment | self.gateway.settings, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def said(self, *arguments: str, code: int = 0) -> str:
        done = self.command(*arguments)
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, launch: Launch, fake: FakeUpstream) -> House:
    return House(launch(request.param), fake)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_s2_25_usage_as_files_and_a_bill_that_agrees_and_one_that_does_not(
    house: House, tmp_path: Path
) -> None:
    house.ask(3)
    lines = table(house.export("csv"))
    assert [(line["request_id"], Decimal(line["cost_usd"])) for line in lines] == [
        (row["request_id"], COST) for row in house.rows()
    ]
    assert [json.loads(line)["cost_usd"] for line in house.export("jsonl").splitlines()] == ["17"] * 3
    focus = house.export("focus")
    assert {(line["SkuMeter"], line["BilledCost"], line["ConsumedQuantity"]) for line in table(focus)} == {
        ("input_tokens", "27", "27"), ("output_tokens", "24", "12"),
    }  # fmt: skip
    # The command writes the same, to a file that is there only when it is complete.
    bill = tmp_path / "bill.csv"
    house.said("export", "--format", "focus", "--output", str(bill))
    assert bill.read_bytes().decode() == focus
    assert [path.name for path in tmp_path.iterdir()] == ["bill.csv"]

    report = house.said("reconcile", str(bill), "--provider", "main")
    assert "1 matched" in report
    assert "51" in report
    bill.write_text(focus.replace("27,", "28,", 1))
    found = json.loads(house.said("reconcile", str(bill), "--provider", "main", "--json", code=1))
    [finding] = found["findings"]
    assert (finding["state"], finding["item"], finding["difference_usd"]) == ("differs", "up", "1")


def test_a_wrong_price_is_mended(house: House) -> None:
    house.ask(2)
    assert "0 of 2 requests would change." in house.said("reprice")
    dearer = {"prices": {**PRICES, "output_tokens": "3000000"}, "confirm_magnitude": True}
    accepted(house.gateway.admin.patch(f"/prices/{house.price}", json=dearer))
    said = house.said("reprice")
    assert "2 of 2 requests would change." in said
    assert "add --apply" in said
    assert {row["cost_usd"] for row in house.rows()} == {"17"}
    report = json.loads(house.said("reprice", "--apply", "--json"))
    assert (report["changed"], report["models"][0]["before_usd"], report["models"][0]["after_usd"]) == (
        2,
        "34",
        "42",
    )
    assert {row["cost_usd"] for row in house.rows()} == {"21"}
    assert "0 of 2 requests changed." in house.said("reprice", "--apply")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reconcile", "nowhere.csv"], "nowhere.csv cannot be read: No such file or directory"),
        (["export", "--format", "xlsx"], "'xlsx' is not a format"),
        (["export", "--since", "yesterday"], "'yesterday' is not an ISO 8601 time"),
        (["export", "--output", "no/where.csv"], "no/where.csv cannot be written"),
        (["export", "--format", "focus", "--time-zone", "Mars"], "'Mars' is not a time zone"),
    ],
)
def test_mistakes_are_one_clear_line(house: House, arguments: list[str], words: str) -> None:
    done = house.command(*arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
