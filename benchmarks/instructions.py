"""Counts the machine instructions of the data path in process: a figure that noise does not affect.

`python -m benchmarks.instructions [--load unary]...` runs each load of `benchmarks.in_process` under valgrind's
callgrind and prints what a request takes, without start and warm-up. The instructions of Python and of C count
alike; those of the kernel do not count. `--setup` is what the gateway is set up with: given several times, beginning
with `plain`, it shows what each adds. It needs valgrind with its headers, and a C compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import uvloop

from benchmarks.in_process import BATCH, counted_batch, share_of
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.setups import SETUPS, add_options
from benchmarks.tools import BenchmarkFailed

# Instructions that a request or a chunk may take, by load.
BUDGETS = {"unary": 230_000, "paced": 24_000}
_COUNTED = re.compile(r"^(?:summary|totals): (\d+)$", re.MULTILINE)


def instructions(scenario: Scenario, folder: Path, setup: str = "plain") -> float:
    """Return the instructions of one request, or of one chunk of a paced stream; `folder` is for files."""
    valgrind, compiler = shutil.which("valgrind"), shutil.which("cc")
    if valgrind is None or compiler is None:
        raise BenchmarkFailed("counting instructions needs valgrind and a C compiler")
    source, library = Path(__file__).with_name("counting.c"), folder / "counting.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True, timeout=120)
    command = [
        valgrind,
        "--tool=callgrind",
        "--instr-atstart=no",
        f"--callgrind-out-file={folder / scenario.name}",
    ]
    command += [sys.executable, "-m", "benchmarks.instructions", "--load", scenario.name]
    command += ["--within", str(library), "--setup", setup]
    # The order of sets of strings would differ from run to run.
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise BenchmarkFailed(f"the load failed under valgrind:\n{ended.stderr[-2000:]}")
    found = _COUNTED.search((folder / f"{scenario.name}.1").read_text())
    if found is None:
        raise BenchmarkFailed("valgrind has counted nothing")
    return int(found[1]) / share_of(scenario)


def main() -> None:
    """Count and print the selected loads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", action="append", choices=list(BATCH))
    add_options(parser)
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    setups = options.setup or ["plain"]
    for scenario in SCENARIOS:
        if scenario.name not in (options.load or BUDGETS):
            continue
        if options.within is not None:
            # This process runs under valgrind.
            library = ctypes.CDLL(str(options.within))
            start, stop = library.start_counting, library.stop_counting
            uvloop.run(counted_batch(scenario, start, stop, SETUPS[setups[0]]))
            continue
        counts: dict[str, float] = {}
        for setup in setups:
            with tempfile.TemporaryDirectory(prefix="llm-gateway-bench-") as folder:
                found = counts[setup] = instructions(scenario, Path(folder), setup)
            budget = BUDGETS.get(scenario.name)
            beside = f"   budget {budget:,}" if budget and setup == "plain" else ""
            if setup != "plain" and "plain" in counts:
                beside = f"   plain {found - counts['plain']:+,.0f}: {SETUPS[setup].title}"
            title = scenario.title if setup == "plain" else f"{scenario.title}, {setup}"
            print(f"{title:42} {found:12,.0f} instructions a {scenario.unit}{beside}", flush=True)


if __name__ == "__main__":
    main()
