"""What a newcomer types, and what is printed for them to type: all of it works as it stands."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.upstream import FakeUpstream

SECONDS = 30.0
KEPT = ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


class CommandLine:
    """`llm-gateway` in a folder of its own, with nothing set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.processes: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "llm_gateway", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def serve(self, command: str, **environment: str) -> Serving:
        """Start `serve` or `demo` on a free port, and wait until it takes requests."""
        serving = Serving(self, command, environment)
        self.processes.append(serving.process)
        serving.wait_for_url()
        return serving

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(SECONDS)


class Serving:
    """One that serves, and what it printed."""

    def __init__(self, line: CommandLine, command: str, environment: dict[str, str]) -> None:
        self.line = line
        self.out, self.err = line.folder / "out", line.folder / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "default", "-m", "llm_gateway", command],
                cwd=line.folder,
                env=line.environment | {"PORT": "0"} | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                text=True,
                start_new_session=True,
            )
        self.url = ""

    def wait_for_url(self) -> None:
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(r"Serving at (http://\S+) ", self.err.read_text())):
            running = self.process.poll() is None and time.monotonic() < deadline
            assert running, self.err.read_text()
            time.sleep(0.02)
        self.url = found[1]

    def printed(self, text: str) -> str:
        """Return what was printed so far, once it holds `text`."""
        deadline = time.monotonic() + SECONDS
        while text not in (printed := self.out.read_text()):
            assert time.monotonic() < deadline, f"{text!r} is not in {printed!r}"
            time.sleep(0.02)
        return printed

    def shell(self, commands: str) -> str:
        """Run shell commands in the same folder, and return their output."""
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=self.line.folder,
            env=self.line.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    made = CommandLine(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_first_start_prints_three_commands_that_lead_to_a_chat(
    line: CommandLine, fake: FakeUpstream, workers: str
) -> None:
    serving = line.serve("serve", WORKERS=workers)
    printed = serving.printed(f"{serving.url}/docs")
    lane = fake.lane(f"first-steps-{workers}")
    commands = printed[printed.index("# 1.") : printed.index("Console: ")]
    assert commands.count("curl http://127.0.0.1:") == 3
    answers = serving.shell(commands.replace("https://api.openai.com/v1", lane.base_url))
    assert lane.last.json["model"] == "gpt-4o-mini"
    assert '"choices"' in answers
    assert stat.S_IMODE((line.folder / "data/admin_key").stat().st_mode) == 0o600
    assert serving.stop() == 0
    # Once something is configured there is nothing to explain.
    again = line.serve("serve", WORKERS=workers)
    assert again.stop() == 0
    assert "curl" not in again.out.read_text()


def test_the_demo_chats_with_what_it_prints(line: CommandLine) -> None:
    alien = {
        "OPENAI_API_KEY": "sk-not-for-the-demo",
        "OPENAI_BASE_URL": "http://127.0.0.1:1",
        "DB_URL": "postgresql://nobody@127.0.0.1:1/none",
        "SECRET_KEY": "one of another database",
        "REDIS_URL": "redis://127.0.0.1:1",
    }
    demo = line.serve("demo", **alien)
    printed = demo.printed("for the real gateway")
    curl = printed[printed.index("curl") : printed.index("# The same")]
    assert "data: [DONE]" in demo.shell(curl)
    snippet = printed[printed.index("from openai") : printed.index("The replies are simulated")]
    (line.folder / "snippet.py").write_text(snippet)
    assert len(demo.shell(f"{sys.executable} snippet.py")) > 10
    (key,) = set(re.findall(r"sk-[\w-]+", printed))
    listed = httpx.get(f"{demo.url}/v1/models", headers={"authorization": f"Bearer {key}"}, trust_env=False)
    assert [model["id"] for model in listed.json()["data"]] == ["demo"]
    key_file = line.folder / "data/demo/demo_key"
    assert key_file.read_text().strip() == key
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert demo.stop() == 0
    # The same key at the next start, whatever else changed.
    again = line.serve("demo", SECRET_KEY="yet another", WORKERS="2")
    assert key in again.printed("for the real gateway")
    assert demo.shell(curl.replace(demo.url, again.url))
    assert again.stop() == 0
    assert "Traceback" not in again.err.read_text()
    assert [path.name for path in (line.folder / "data").iterdir()] == ["demo"]


def test_a_first_budget_is_spent_and_refuses(line: CommandLine) -> None:
    page = (Path(__file__).parents[2] / "docs/budgets.md").read_text()
    commands, *_ = re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    demo = line.serve("demo")
    printed = demo.shell(commands.replace("http://127.0.0.1:18000", demo.url))
    chat, refused = re.findall(r"HTTP/1\.1 (\d+)", printed)
    assert (chat, refused) == ("200", "429")
    assert re.search(r"x-llm-gateway-cost-usd: 0\.000\d+", printed)
    assert '"remaining_usd"' in printed
    assert "is left of the budget 'first-day' of this API key (0.002 USD a day" in printed
    assert demo.stop() == 0


def test_a_credential_made_on_the_command_line_opens_a_running_gateway(line: CommandLine) -> None:
    serving = line.serve("serve")
    made = line.run("credential", "create", "--name", "me", "--model", "gpt-4*", "--rate-limit", "5")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert re.fullmatch(r"sk-[\w-]{20,}", key)
    deadline = time.monotonic() + SECONDS
    headers = {"authorization": f"Bearer {key}"}
    while (
        answer := httpx.get(f"{serving.url}/v1/models", headers=headers, trust_env=False)
    ).status_code != 200:
        assert answer.status_code == 401
        assert time.monotonic() < deadline
        time.sleep(0.05)
    again = line.run("credential", "create", "--name", "you", "--key", key)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("llm-gateway: ")
    assert again.stderr.count("\n") == 1
    assert key not in again.stderr
    assert serving.stop() == 0


def test_migrate_goes_up_and_one_step_down(line: CommandLine) -> None:
    assert line.run("migrate", "version").stdout == "empty\n"
    up = line.run("migrate", "up")
    assert up.returncode == 0, up.stderr
    assert line.run("migrate", "version").stdout == up.stdout
    assert line.run("migrate", "down").stdout != up.stdout


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_taken_port_is_one_line_that_says_what_to_do(line: CommandLine, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = line.run(command, PORT=str(port))
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert f"PORT={port}" in failed.stderr
    assert "set PORT to a free port" in failed.stderr
    assert not (line.folder / "data").exists()


FAILURES: dict[str, tuple[dict[str, str], str]] = {
    "wrong number": ({"PORT": "99999"}, "PORT=99999"),
    "no such level": ({"LOG_LEVEL": "loud"}, "LOG_LEVEL=loud"),
    "folder that cannot be made": ({"DATA_DIR": "/proc/data"}, "DATA_DIR"),
    "folder that cannot be made, two workers": ({"DATA_DIR": "/proc/data", "WORKERS": "2"}, "DATA_DIR"),
    "no admin key with PostgreSQL": ({"DB_URL": "postgresql://a:hush@127.0.0.1:1/b"}, "ADMIN_KEY"),
    "address that is no address": ({"HOST": "not a host"}, "HOST=not a host"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_an_operator_can_mend_is_one_line_that_names_it(line: CommandLine, name: str) -> None:
    environment, named = FAILURES[name]
    failed = line.run("serve", **{"PORT": "0", **environment})
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr.count("\n") == 1, failed.stderr
    assert named in failed.stderr
    assert "hush" not in failed.stderr


def test_ctrl_c_ends_it_cleanly(line: CommandLine) -> None:
    serving = line.serve("serve", WORKERS="2")
    os.killpg(serving.process.pid, signal.SIGINT)
    assert serving.process.wait(SECONDS) == 0
    assert "Traceback" not in serving.err.read_text()
