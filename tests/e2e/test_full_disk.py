"""A disk that fills up, or a metrics folder that cannot be written, costs no request and no worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import GatewayProcess, eventually
from tests.fakes.upstream import FakeUpstream
from tests.services import without_a_part


class SmallDiskGateway(GatewayProcess):
    """A gateway that alone sees a small file system at its DATA_DIR."""

    def launch(self) -> None:
        """Start it in a mount namespace of its own, which ends with it."""
        data = Path(self.settings["DATA_DIR"])
        data.mkdir(exist_ok=True)
        script = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'
        command = [
            "unshare",
            "-rm",
            "sh",
            "-c",
            script,
            str(data),
            sys.executable,
            "-m",
            "llm_gateway",
            "serve",
        ]
        with self.stdout.open("ab") as out, self.stderr.open("ab") as err:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"]} | self.settings,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def disk(self) -> Path:
        """Return the small file system, as this process can reach it."""
        return Path(f"/proc/{self.pid}/root{self.settings['DATA_DIR']}")

    def fill(self) -> None:
        """Leave no byte on the small file system."""
        with (self.disk / "filling").open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"\1" * size)
                except OSError:
                    continue

    def workers(self) -> list[str]:
        """Return the process ids of the workers."""
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDiskGateway]:
    if not can_mount():
        without_a_part("needs mount namespaces, which this machine does not allow")
    gateway = SmallDiskGateway(tmp_path / "small", WORKERS=2)
    yield gateway
    gateway.kill()
    gateway.close()


def chat_on_many_labels(gateway: GatewayProcess, desk: Desk, names: str) -> None:
    """Send requests whose metrics need cells of their own."""
    for number in range(40):
        answer = gateway.post("/v1/chat/completions", desk.key, json=desk.body(model=f"{names}-{number}"))
        assert answer.status_code == 200


def test_a_disk_that_fills_up_kills_no_worker(small_disk: SmallDiskGateway, fake: FakeUpstream) -> None:
    gateway = small_disk
    gateway.start()
    desk = Desk(gateway, fake)
    desk.provider(model_mapping={"*": "up"})
    assert desk.chat().status_code == 200
    workers = gateway.workers()
    small_disk.fill()
    chat_on_many_labels(gateway, desk, "wild")
    assert gateway.workers() == workers
    assert gateway.http.get("/metrics").status_code == 200
    # Nor is one that starts now in the way.
    os.kill(int(workers[0]), signal.SIGKILL)
    eventually(gateway.workers, lambda now: len(now) == 2 and workers[0] not in now, 15)
    restarted = gateway.workers()
    chat_on_many_labels(gateway, desk, "wilder")
    assert gateway.workers() == restarted
    (small_disk.disk / "filling").unlink()
    assert desk.chat().status_code == 200
    assert "signal 7" not in gateway.log()
    assert gateway.stop() == 0


# A superuser may write everywhere.
@pytest.mark.parametrize("how", ["removed", "a file", *(["read-only"] if os.geteuid() else [])])
def test_a_metrics_folder_that_cannot_be_written_costs_no_request(
    launch: Launch, fake: FakeUpstream, how: str
) -> None:
    gateway = launch(WORKERS=2)
    [folder] = (Path(gateway.settings["DATA_DIR"]) / "run").glob("metrics-*")
    if how == "read-only":
        folder.chmod(0o500)
    else:
        shutil.rmtree(folder)
    if how == "a file":
        folder.touch()
    desk = Desk(gateway, fake)
    desk.provider()
    for _ in range(20):
        assert desk.chat().status_code == 200
        assert gateway.http.get("/metrics").status_code == 200
    assert gateway.stop() == 0


def test_broken_metrics_files_are_skipped(launch: Launch, fake: FakeUpstream) -> None:
    gateway = launch(WORKERS=2)
    desk = Desk(gateway, fake)
    desk.provider()
    for _ in range(10):
        assert desk.chat().status_code == 200
    [folder] = (Path(gateway.settings["DATA_DIR"]) / "run").glob("metrics-*")
    for number, content in enumerate((b"", b"garbage" * 100, os.urandom(65536), b"\1" * 1000)):
        for name in ("counters", "events", "gauges", "live"):
            (folder / f"{name}-{number}-0").write_bytes(content)
    (folder / "counter_1.db").write_bytes(b"x")
    assert gateway.metrics("llm_proxy_requests_total") == 10
    assert gateway.metrics("llm_gateway_unreadable_metrics_files") == 16
    assert gateway.stop() == 0
