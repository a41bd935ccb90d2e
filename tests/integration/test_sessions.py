"""Sessions of several processes on one database: what one does, all others see at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.infra.database.address import embedded_address, read_address
from llm_gateway.infra.database.migrating import migrate_up

ROOT = Path(__file__).parents[2]
ADMIN, VIEWER = "the-admin-key-of-this-test", "the-viewer-key-of-this-test"


class Process:
    """A process that does what it is told."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.session_program"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **settings},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the program did not start"

    def __call__(self, *command: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


Start = Callable[..., Process]


@pytest.fixture
async def settings(store_url: str | None, data_dir: Path) -> dict[str, str]:
    folder = data_dir / "gateway"
    folder.mkdir()
    await migrate_up(embedded_address(folder) if store_url is None else read_address(store_url))
    given = {"DATA_DIR": str(folder), "ADMIN_KEY": ADMIN, "VIEWER_KEY": VIEWER}
    return given if store_url is None else {**given, "DB_URL": store_url}


@pytest.fixture
def start(settings: dict[str, str]) -> Iterator[Start]:
    started: list[Process] = []

    def start(**changes: str) -> Process:
        started.append(Process({**settings, **changes}))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def test_a_session_outlives_its_process_and_its_revocation_is_seen_at_once(start: Start) -> None:
    first, second = start(), start()
    admin = first("sign_in", ADMIN, "10.0.0.1")
    viewer = second("sign_in", VIEWER, "10.0.0.2")
    assert (admin["role"], viewer["role"]) == ("admin", "viewer")
    for process in (first, second):
        assert {one["id"] for one in process("active")} == {admin["id"], viewer["id"]}
        assert process("find", admin["token"])["client_ip"] == "10.0.0.1"
    first.kill()
    third = start()
    assert third("find", admin["token"])["id"] == admin["id"]
    # Known to the second process just now, and gone there in the next moment.
    assert second("find", admin["token"]) is not None
    assert third("revoke", admin["id"]) is True
    assert second("find", admin["token"]) is None
    assert third("sign_out", viewer["token"]) is True
    assert second("find", viewer["token"]) is None
    assert second("active") == []


def test_a_changed_key_ends_the_sessions_that_it_opened(start: Start, data_dir: Path) -> None:
    first = start()
    admin, viewer = [first("sign_in", key, "10.0.0.1") for key in (ADMIN, VIEWER)]
    changed = start(VIEWER_KEY="another-viewer-key-here")
    assert changed("find", admin["token"])["id"] == admin["id"]
    assert changed("find", viewer["token"]) is None
    assert [one["id"] for one in changed("active")] == [admin["id"]]
    files = b"".join(path.read_bytes() for path in data_dir.rglob("*") if path.is_file())
    for secret in (ADMIN, VIEWER, admin["token"]):
        assert secret.encode() not in files


def test_failed_attempts_are_counted_in_all_processes_together(start: Start) -> None:
    processes = [start(), start()]
    said = [processes[number % 2]("sign_in", "wrong", "10.0.0.1")["error"] for number in range(12)]
    assert said == ["sign_in_failed"] * 10 + ["too_many_sign_ins"] * 2
    for process in processes:
        assert process("sign_in", ADMIN, "10.0.0.1") == {"error": "too_many_sign_ins"}
        assert process("sign_in", ADMIN, "10.0.0.2")["role"] == "admin"


def test_attempts_may_be_counted_in_redis(start: Start, redis_url: str) -> None:
    first = start(REDIS_URL=redis_url)
    said = [first("sign_in", "wrong", "10.0.0.1")["error"] for _ in range(11)]
    assert said == ["sign_in_failed"] * 10 + ["too_many_sign_ins"]
    assert first("sign_in", ADMIN, "10.0.0.2")["role"] == "admin"
