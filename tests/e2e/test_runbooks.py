"""The commands of every runbook run as they are printed, against a gateway with two workers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Services
from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess, accepted, eventually
from tests.fakes.script import error_script
from tests.fakes.upstream import FakeUpstream
from tests.rule_files import RUNBOOKS
from tests.services import fresh_database, without_a_part

BOOKS = sorted(RUNBOOKS.glob("*.md"))
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(book: Path) -> list[str]:
    """Return the commands of a runbook; one that goes on in the next line is indented there."""
    blocks = "".join(BLOCK.findall(book.read_text()))
    return re.split(r"\n(?! )", blocks.rstrip())


@pytest.fixture(scope="module")
def troubled(
    fake: FakeUpstream, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """Return a gateway on PostgreSQL that has seen what alerts are about, so that every metric has a sample."""
    for program in ("curl", "psql"):
        if shutil.which(program) is None:
            without_a_part(f"needs {program}")
    with fresh_database(services.url_or_skip("PostgreSQL")) as url:
        gateway = GatewayProcess(tmp_path_factory.mktemp("runbooks"), DB_URL=url, WORKERS=2).start()
        try:
            _trouble(gateway, fake)
            yield gateway
        finally:
            gateway.close()


def _trouble(gateway: GatewayProcess, fake: FakeUpstream) -> None:
    desk = Desk(gateway, fake)
    bad = desk.failing(error_script(500), "bad", weight=10_000)
    desk.provider("good")
    for number in range(40):
        body = desk.body(stream=bool(number % 2), messages=[{"role": "user", "content": str(number)}])
        assert gateway.post("/v1/chat/completions", desk.key, json=body).status_code == 200
    desk.failing(error_script(500), "alone", model_mapping={"alone": "up"})
    assert gateway.post("/v1/chat/completions", desk.key, json=desk.body(model="alone")).status_code >= 500
    accepted(gateway.admin.post("/models", json={"name": desk.model}))
    budget = {"name": "team", "scope": "all", "amount_usd": "10", "period": "total"}
    accepted(gateway.admin.post("/budgets", json=budget))
    assert desk.chat().status_code == 200
    blocked = desk.credential("-blocked", limits={"requests_per_day": 0})
    assert gateway.post("/v1/chat/completions", blocked, json=desk.body()).status_code == 429
    gateway.settings |= {"PROVIDER": bad.name, "MODEL": desk.model, "BUDGET": "team"}
    breakers = "llm_gateway_breaker_openings_total"
    eventually(lambda: gateway.metrics(breakers), lambda number: number > 0)
    eventually(lambda: gateway.metrics("llm_gateway_budget_used_ratio"), lambda number: number >= 0)


def _run(gateway: GatewayProcess, command: str) -> str:
    names = ("DB_URL", "DATA_DIR", "PROVIDER", "MODEL", "BUDGET")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=gateway.folder,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GATEWAY": gateway.origin,
            "ADMIN_KEY": ADMIN_KEY,
            **{name: gateway.settings[name] for name in names},
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr}"
    assert "sk-upstream" not in done.stdout
    return done.stdout


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_the_commands_of_a_runbook_run(troubled: GatewayProcess, book: Path) -> None:
    found = commands(book)
    assert found
    for command in found:
        output = _run(troubled, command)
        # A search that finds nothing prints nothing, and so would one for a metric that is gone.
        assert output.strip() or command.startswith("find "), command
