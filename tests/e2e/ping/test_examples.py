"""The examples and `run_local.py` run as their users run them, against a real gateway."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.services import free_port, without_a_part

ROOT = Path(__file__).parents[3]
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


def environment(**settings: str) -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ} | settings


class Program:
    """A program that serves until it is stopped."""

    def __init__(self, folder: Path, script: str, url: str, **settings: str) -> None:
        self.folder = folder
        self.url = url
        self.output = folder / "output.log"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / script)],
                cwd=folder,
                env=environment(**settings),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, text: str) -> str:
        """Return the output once it has the text."""
        deadline = time.monotonic() + 60
        while text not in (seen := self.output.read_text()):
            assert self.process.poll() is None, seen
            assert time.monotonic() < deadline, seen
            time.sleep(0.05)
        return seen

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    started: list[Program] = []
    yield started
    for program in started:
        if program.process.poll() is None:
            program.process.terminate()
            program.process.wait(30)


def client(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples/test_client.py"), *arguments],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_example_starts_and_its_client_finds_everything_s1_23_s1_24(
    tmp_path: Path, programs: list[Program]
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = Program(tmp_path, "examples/run.py", url, PORT=str(port))
    programs.append(program)
    output = program.wait_for("The service runs at")
    assert f"The service runs at {url}, its documentation at {url}/docs." in output
    assert "a simulated one now serves the model 'gemini'" in output
    assert httpx.get(f"{url}/docs", trust_env=False).status_code == 200

    done = client(tmp_path, GATEWAY_URL=url)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = (
        "Health check",
        "Token generation",
        "Token validation",
        "Completion with telemetry",
        "Manual telemetry",
    )
    assert all(f"ok    {step}: " in done.stdout for step in steps)
    assert done.stdout.endswith("5 of 5 tests passed.\n")

    done = client(tmp_path, "ab1234", "Custom prompt here", GATEWAY_URL=f"{url}/")
    assert done.returncode == 0, done.stdout
    assert "as ab1234" in done.stdout
    key = (tmp_path / "data/admin_key").read_text().strip()
    rows = httpx.get(
        f"{url}/admin/v1/usage", headers={"authorization": f"Bearer {key}"}, trust_env=False
    ).json()["data"]
    assert [(row["soeid"], row["project"], row["status_code"]) for row in rows] == [
        ("ab1234", "examples", 200),
        ("default_user", "examples", 200),
    ]

    # What is wrong is said, step by step.
    done = client(tmp_path, GATEWAY_URL=url, TOKEN_SECRET="wrong")
    assert done.returncode == 1
    assert "FAIL  Token generation: POST /generate-token: 401: X-Token-Secret is wrong." in done.stdout
    assert "1 of 5 tests passed." in done.stdout
    assert program.stop() == 0
    assert "Traceback" not in program.output.read_text()


def test_the_client_says_that_nothing_runs(tmp_path: Path) -> None:
    done = client(tmp_path, GATEWAY_URL=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "python examples/run.py" in done.stdout
    assert done.stdout.endswith("0 of 5 tests passed.\n")
    assert done.stderr == ""


def test_the_client_shows_how_it_is_used(tmp_path: Path) -> None:
    assert "[user]" in client(tmp_path, "--help").stdout
    assert client(tmp_path, "a", "b", "c").returncode == 2


def test_the_example_heeds_a_file_of_ones_own(tmp_path: Path, programs: list[Program]) -> None:
    port = free_port()
    (tmp_path / ".env").write_text(f"PORT={port}\nDEFAULT_MODEL=mine\nTOKEN_SECRET={'s' * 32}\n")
    url = f"http://127.0.0.1:{port}"
    program = Program(tmp_path, "examples/run.py", url)
    programs.append(program)
    assert "'mine'" in program.wait_for("The service runs at")
    assert client(tmp_path, GATEWAY_URL=url).returncode == 0
    # ALLOW_DEFAULT_TOKEN comes from examples/.env alone.
    answer = httpx.post(f"{url}/api/llm/completion", json={"prompt": "x"}, trust_env=False)
    assert answer.status_code == 401
    assert program.stop() == 0


def test_the_local_server_runs_s0_13_s0_14(tmp_path: Path, programs: list[Program]) -> None:
    port = free_port()
    (tmp_path / ".env").write_text(f"PORT={port}\n")
    program = Program(tmp_path, "run_local.py", f"http://127.0.0.1:{port}")
    programs.append(program)
    program.wait_for(f"Serving at http://127.0.0.1:{port}")
    for path in ("/health", "/docs", "/info"):
        assert httpx.get(program.url + path, trust_env=False).status_code == 200
    assert program.stop() == 0


def test_the_local_server_is_at_port_8001_s0_14_s0_20(tmp_path: Path, programs: list[Program]) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8001))
        except OSError:
            without_a_part("something else uses port 8001")
    program = Program(tmp_path, "run_local.py", "http://127.0.0.1:8001")
    programs.append(program)
    program.wait_for("Serving at http://127.0.0.1:8001 with 1 worker")
    assert httpx.get(f"{program.url}/docs", trust_env=False).status_code == 200
    assert program.stop() == 0


@pytest.mark.parametrize("script", ["examples/run.py", "run_local.py"])
def test_a_python_without_the_gateway_is_told_what_to_run(tmp_path: Path, script: str) -> None:
    # What a Python of one's own may have, which is not enough.
    (tmp_path / "dotenv.py").write_text("dotenv_values = dict\n")
    ended = subprocess.run(
        [sys.executable, "-S", str(ROOT / script)],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "The module 'llm_gateway' is not installed in this Python. Run `make install` once, then "
        f"`.venv/bin/python {script}`.\n"
    )


def test_the_example_does_not_take_another_gateway_for_its_own(
    tmp_path: Path, programs: list[Program]
) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    programs.append(Program(first, "examples/run.py", url, PORT=str(port)))
    programs[0].wait_for("The service runs at")
    other = Program(second, "examples/run.py", url, PORT=str(port))
    assert other.process.wait(60) == 1
    assert other.output.read_text() == (
        f"A gateway answers at {url} already. Stop it, or set PORT to a free port.\n"
    )
