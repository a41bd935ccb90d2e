"""The benchmarks run, with tiny counts; what they measure is nobody's business here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
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
    assert names == (["unary", "burst", "paced", "big"] if native else ["burst"])
    assert all(row["per_second"] > 0 for row in seen["figures"])
    assert seen["footprints"][0]["start_seconds"] > 0
    assert b"CPU us" in done.stdout
