"""The commands of the other services run as other users on a root that is read-only."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import redis
import yaml

from tests.containers.read_only import SECONDS, ContainerProcess
from tests.services import free_port, postgres_binaries, without_a_part

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
# That of the image of Prometheus; the others are in the compose file.
NOBODY = 65534


def until(container: ContainerProcess, ready: Callable[[], bool]) -> None:
    """Wait until the service is ready, as its health check does."""
    deadline = time.monotonic() + SECONDS
    while not ready():
        assert container.process.poll() is None, container.log()
        assert time.monotonic() < deadline, container.log()
        time.sleep(0.05)


def user_of(name: str) -> int:
    return int(SERVICES[name]["user"].partition(":")[0])


def test_redis_keeps_nothing_and_needs_no_disk(open_path: Path) -> None:
    program = shutil.which("redis-server")
    if program is None:
        without_a_part("needs redis-server")
    _, *arguments = SERVICES["redis"]["command"]
    port = free_port()
    command = [program, *map(str, arguments), "--port", str(port), "--bind", "127.0.0.1"]
    container = ContainerProcess(open_path / "data", command, user_of("redis"))
    client = redis.Redis(port=port)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    try:
        until(container, answers)
        assert client.set("a", "b")
        client.close()
    finally:
        code = container.stop()
    assert code == 0, container.log()
    assert list((open_path / "data").iterdir()) == []


def test_prometheus_loads_its_files_and_writes_to_its_volume_alone(
    open_path: Path, prometheus_folder: Path
) -> None:
    port, files = free_port(), open_path / "etc"
    arguments = [
        argument.replace("/etc/prometheus", str(files)).replace("=/prometheus", f"={open_path / 'data'}")
        for argument in SERVICES["prometheus"]["command"]
    ]
    command = [
        str(prometheus_folder / "prometheus"),
        *arguments,
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    container = ContainerProcess(open_path / "data", command, NOBODY, mounts={ROOT / "prometheus": files})

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def targets() -> list[str]:
        found = httpx.get(f"http://127.0.0.1:{port}/api/v1/targets").json()["data"]["activeTargets"]
        return [one["scrapeUrl"] for one in found]

    try:
        until(container, is_ready)
        groups = httpx.get(f"http://127.0.0.1:{port}/api/v1/rules").json()["data"]["groups"]
        assert groups
        # They are discovered within seconds.
        until(container, lambda: targets() == ["http://localhost:18000/metrics"])
    finally:
        code = container.stop()
    assert code == 0, container.log()


def test_postgresql_runs_as_its_user_with_its_folder_alone(open_path: Path) -> None:
    programs = postgres_binaries()
    if programs is None:
        without_a_part("needs PostgreSQL's server")
    port, data = free_port(), open_path / "data" / "pgdata"
    # What the image's entry point does before the server starts.
    steps = (
        f"{programs}/initdb -D {data} -U llm_proxy --auth=trust >/dev/null && "
        f"exec {programs}/postgres -D {data} -p {port} -h 127.0.0.1 -k ''"
    )
    # initdb wants a user that exists: the image's 999 is this machine's own.
    user = pwd.getpwnam("postgres").pw_uid
    container = ContainerProcess(open_path / "data", ["sh", "-c", steps], user)
    check = [f"{programs}/pg_isready", "-h", "127.0.0.1", "-p", str(port), "-U", "llm_proxy"]
    try:
        until(container, lambda: subprocess.run(check, capture_output=True, check=False).returncode == 0)
    finally:
        code = container.stop()
    assert code == 0, container.log()
