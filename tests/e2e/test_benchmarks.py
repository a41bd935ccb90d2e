"""The benchmarks run, with tiny counts; what they measure is nobody's business here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.guard import read_bounds, verdicts
from benchmarks.instructions import instructions
from benchmarks.machine import Cores, free_ports, highest_memory, resident_mb
from benchmarks.measuring import Plan, measure_targets
from benchmarks.ratios import ratio_table
from benchmarks.report import Failure, Figures, table
from benchmarks.scenarios import SCENARIOS
from benchmarks.setups import SETUPS
from benchmarks.targets.base import Running, spawn
from benchmarks.targets.gateway import GatewayTarget, reload_seconds
from benchmarks.tools import Tools

_ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def test_memory_that_is_used_after_the_stated_time_does_not_count() -> None:
    with highest_memory([os.getpid()], 0.4) as highest:
        time.sleep(0.6)
        before = highest()
        block = bytearray(b"x") * 100_000_000
        time.sleep(0.3)
        assert 0 < before == highest() < resident_mb([os.getpid()])
        del block


@pytest.mark.parametrize("native", [True, pytest.param(False, marks=pytest.mark.soak)])
def test_benchmarks_run(tmp_path: Path, native: bool) -> None:
    figures = tmp_path / "figures.json"
    program = "from benchmarks.run import main; main()"
    if not native:
        program = "import shutil; shutil.which = lambda *_, **__: None; " + program
    options = [
        "--rounds",
        "1",
        "--seconds",
        "0.3",
        "--warm",
        "0.2",
        "--connections",
        "4",
        "--store",
        "sqlite",
    ]
    command = [sys.executable, "-c", program, *options, "--json", str(figures), "--target", "llm-gateway"]
    if not native:
        command += ["--scenario", "burst"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    seen = json.loads(figures.read_text())
    names = [row["scenario"] for row in seen["figures"]]
    assert names == (["unary", "burst", "paced", "big", "alone", "held"] if native else ["burst"])
    assert all(row["per_second"] > 0 for row in seen["figures"])
    if native:
        # Of the streams that stay open.
        assert [row["scenario"] for row in seen["figures"] if row["kib_per_stream"] is not None] == ["held"]
    assert seen["footprints"][0]["start_seconds"] > 0
    assert b"CPU us" in done.stdout


class _RefusingTarget:
    """Answers every request with 501, and has started a process besides."""

    name = "refusing"
    version = "1"
    pids: list[int]

    def missing(self) -> str | None:
        return None

    def start(self, upstream_ports: list[int], folder: Path, cores: Cores) -> Running:
        port = free_ports(1)[0]
        serving = (
            f"import http.server as h; s = h.ThreadingHTTPServer(('127.0.0.1', {port}), h.BaseHTTPRequestHandler); "
            "print(flush=True); s.serve_forever()"
        )
        command: list[str | Path] = ["sh", "-c", f'sleep 60 & "{sys.executable}" -c "{serving}"']
        running = spawn(command, port=port, folder=folder, cores=cores, settings={})
        while not (folder / "stdout.log").read_text():
            assert running.process.poll() is None
        self.pids = running.pids()
        return running


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_target_that_fails_a_load_shows_no_figure_and_ends_whole(tmp_path: Path) -> None:
    cores, target = Cores(), _RefusingTarget()
    plan = Plan(rounds=2, seconds=0.1, warm=0.1, connections=2, scenarios=SCENARIOS[:1])
    rows, footprints = measure_targets([target], plan, Tools(tmp_path, cores), cores, [])
    (row,) = rows
    assert isinstance(row, Failure)
    assert "not 2xx" in row.failed
    assert "failed" in table(rows, footprints)
    assert len(target.pids) == 3
    assert not any(_is_alive(pid) for pid in target.pids)


def test_a_peer_that_is_not_installed_is_left_out_with_how_to_install_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--target", "smg", "--store", "sqlite"]
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=_ROOT, env=env, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b'smg is left out; install it with: make bench ARGS="--install-peers"' in done.stderr
    assert not list(tmp_path.iterdir())


def _figures(target: str, cpu_us: float) -> Figures:
    return Figures(
        target=target,
        scenario="unary",
        title="unary",
        unit="request",
        cpu_us=cpu_us,
        per_second=1.0,
        p50_ms=1.0,
        p99_ms=1.0,
        rounds=1,
    )


def test_the_guard_compares_with_nginx_in_the_same_run() -> None:
    bounds = {"unary": 6.0, "burst": 5.0}
    floor = _figures("nginx", 10.0)
    assert [good for _, good in verdicts([_figures("llm-gateway", 59.0), floor], bounds)] == [True]
    assert [good for _, good in verdicts([_figures("llm-gateway", 61.0), floor], bounds)] == [False]
    failure = Failure(target="llm-gateway", scenario="unary", title="unary", failed="3 cut off")
    assert verdicts([failure, floor], bounds) == [("unary: llm-gateway failed: 3 cut off", False)]
    assert set(read_bounds()) <= {scenario.name for scenario in SCENARIOS}


@pytest.mark.soak
def test_a_catalog_of_thousands_is_served(tmp_path: Path) -> None:
    cores, ports = Cores(), free_ports(3)
    upstream = Tools(tmp_path, cores).start_upstream(ports)
    try:
        running = GatewayTarget(others=3_000).start(ports, tmp_path, cores)
        try:
            assert reload_seconds(running.port) > 0
        finally:
            running.stop()
    finally:
        upstream.kill()
        upstream.communicate()


def test_the_data_path_is_measured_in_one_process() -> None:
    command = [sys.executable, "-m", "benchmarks.in_process", "--batches", "1"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert done.stdout.decode().count(" us a ") == 4


def test_what_prices_budgets_and_limits_add_is_measured() -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.in_process",
        "--load",
        "unary",
        "--compare",
        "--batches",
        "1",
    ]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    lines = done.stdout.decode().splitlines()
    assert [name for name in SETUPS if any(f"  {name}: " in line for line in lines)] == list(SETUPS)[1:]


def _measured(target: str, scenario: str, cpu_us: float, **more: Any) -> Figures:
    return Figures(
        target=target,
        scenario=scenario,
        title="",
        unit="request",
        cpu_us=cpu_us,
        per_second=1.0,
        p50_ms=1.0,
        p99_ms=1.0,
        rounds=1,
        **more,
    )


def test_ratios_stand_beside_their_budgets() -> None:
    rows: list[Figures | Failure] = [
        _measured("llm-gateway", "unary", 79.0),
        _measured("sglang-router", "unary", 100.0),
        _measured("llm-gateway", "alone", 1.0, added_p50_us=95.0),
        _measured("sglang-router", "alone", 1.0, added_p50_us=100.0),
        _measured("llm-gateway", "burst", 1.0),
        Failure(target="sglang-router", scenario="burst", title="", failed="broken"),
    ]
    head, unary, alone = ratio_table(rows).splitlines()
    assert head.split() == ["llm-gateway", "/", "sglang-router", "ratio", "budget", "stretch"]
    assert unary.split()[-4:] == ["0.79", "0.80", "0.65", "within"]
    assert alone.split()[-4:] == ["0.95", "0.90", "0.70", "over"]
    assert ratio_table(rows[:1]) == ""


@pytest.mark.skipif(
    shutil.which("valgrind") is None or not Path("/usr/include/valgrind/callgrind.h").exists(),
    reason="needs valgrind",
)
@pytest.mark.soak
def test_instructions_are_counted(tmp_path: Path) -> None:
    assert 10_000 < instructions(SCENARIOS[0], tmp_path) < 10_000_000
