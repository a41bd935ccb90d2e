"""`usage summary` and `usage rollup`: what they print, as a table and as JSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from llm_gateway.cli import commands
from llm_gateway.cli.summary_texts import summary_lines
from llm_gateway.core.times import read_time
from llm_gateway.infra.database.address import embedded_address
from llm_gateway.infra.database.engine import close_engine, make_engine, writing
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.json_lines import to_line
from tests.fakes.usage_records import record

AT = read_time("2026-01-31T23:30:00Z")


def totals(**changes: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("requests", "errors", "refused", "prompt_tokens", "completion_tokens"), 1)
    times = dict.fromkeys(("p50", "p90", "p95", "p99"), 12.34)
    nothing = dict.fromkeys(("p50", "p90", "p95", "p99"))
    return counts | {"cost_usd": "0.5", "unpriced": 0, "latency_ms": times, "ttft_ms": nothing} | changes


def test_a_table_has_a_line_for_each_group_and_the_total() -> None:
    small = dict.fromkeys(("p50", "p90", "p95", "p99"), 1.26)
    shown = {
        "group_by": ["day", "model"],
        "data": [totals(day="2026-01-31", model=None), totals(day="2026-02-01", model="b", ttft_ms=small)],
        "total": totals(requests=2),
        "is_complete": True,
    }
    head, first, second, total = summary_lines(shown)
    assert head.split() == [
        *("day", "model", "requests", "errors", "refused", "prompt_tokens", "completion_tokens", "cost_usd"),
        *("unpriced", "latency", "p50", "latency", "p99", "ttft", "p50", "ttft", "p99"),
    ]
    assert first.split()[:3] == ["2026-01-31", "-", "1"]
    assert first.split()[-6:] == ["12", "ms", "12", "ms", "-", "-"]
    assert second.split()[-4:] == ["1.3", "ms", "1.3", "ms"]
    assert total.split()[:3] == ["total", "2", "1"]


def test_what_a_sum_lacks_is_said() -> None:
    shown = {"group_by": [], "data": [], "total": totals(unpriced=3, cost_usd=None), "is_complete": False}
    _, total, unpriced, incomplete = summary_lines(shown)
    assert total.split()[5:7] == ["-", "3"]
    assert "3 requests" in unpriced
    assert "usage rollup" in incomplete


def seed(folder: Path) -> None:
    async def put() -> None:
        engine = make_engine(embedded_address(folder))
        facts = [record(f"id-{n}", created_at=AT + n * 3_600_000_000, cost_nano_usd=n) for n in range(3)]
        # As a version before summaries did.
        await UsageRepository(engine).upsert([to_line(fact) for fact in facts])
        async with writing(engine) as connection:
            await connection.exec_driver_sql(f"UPDATE usage_rollup_state SET missing_before = {AT + 10**12}")
        await close_engine(engine)

    asyncio.run(put())


def test_the_commands_add_up_and_print(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(commands._cli, ["migrate", "up"]).exit_code == 0
    seed(tmp_path / "data")

    def run(*arguments: str, code: int = 0) -> str:
        result = runner.invoke(commands._cli, ["usage", *arguments])
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    assert "still being added up" in run("summary")
    assert run("rollup") == "2026-02-01: 2 rows\n2026-01-31: 1 rows\n"
    shown = json.loads(run("summary", "--group-by", "day", "--time-zone", "Europe/Berlin", "--json"))
    assert [(row["day"], row["requests"], row["cost_usd"]) for row in shown["data"]] == [
        ("2026-02-01", 3, "0.000000003")
    ]
    assert shown["is_complete"]
    lines = run("summary", "--group-by", "day", "--model", "gpt-4o").splitlines()
    assert [line.split()[0] for line in lines] == ["day", "2026-01-31", "2026-02-01", "total"]
    assert run("rollup", "--since", "2026-02-01", "--until", "2026-02-02") == "2026-02-01: 2 rows\n"
    assert "shoe_size" in run("summary", "--group-by", "shoe_size", code=1)


def test_without_rows_there_is_nothing_to_add_up() -> None:
    assert CliRunner().invoke(commands._cli, ["migrate", "up"]).exit_code == 0
    result = CliRunner().invoke(commands._cli, ["usage", "rollup"])
    assert (result.exit_code, result.stdout) == (0, "There are no usage rows.\n"), result.output
