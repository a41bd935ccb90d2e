"""What the image is built from suffices, and its command runs as another user on a root that is read-only."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.containers.read_only import ContainerProcess
from tests.services import free_port

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# The image's user.
USER = 10001
SECONDS = 60.0


def instructions(name: str) -> list[str]:
    """Return what follows an instruction's name, of every stage."""
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    return [line.partition(" ")[2] for line in joined.splitlines() if line.startswith(name + " ")]


def context(folder: Path) -> Path:
    """Copy what .dockerignore lets into the build's context, and no more."""
    for pattern in (ROOT / ".dockerignore").read_text().split():
        if not pattern.startswith("!"):
            continue
        source, target = ROOT / pattern[1:], folder / pattern[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def test_s4_59_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_s0_15_s1_25_s3_7_the_context_has_everything_that_is_copied(tmp_path: Path) -> None:
    folder = context(tmp_path)
    for line in instructions("COPY"):
        if not line.startswith("--from"):
            *sources, _ = line.split()
            assert [source for source in sources if not (folder / source).exists()] == []


def test_the_package_that_is_built_has_migrations_and_prices(tmp_path: Path) -> None:
    folder = context(tmp_path / "context")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=SECONDS,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(re.fullmatch(r"llm_gateway/migrations/versions/0001\w*\.py", name) for name in names)
    assert "llm_gateway/surfaces/openai/routes.py" in names
    assert any(
        name.startswith("llm_gateway/") and "prices" in name and not name.endswith(".py") for name in names
    )


def test_the_user_the_port_and_the_folder_are_those_of_the_compose_file() -> None:
    assert instructions("USER") == [str(USER)]
    assert instructions("EXPOSE") == ["18000"]
    compose = (ROOT / "docker-compose.yml").read_text()
    assert "gateway-data:/var/lib/llm-gateway" in compose
    assert instructions("VOLUME") == ["/var/lib/llm-gateway"]
    assert instructions("ENTRYPOINT") == ['["llm-gateway"]']


@pytest.fixture
def served(open_path: Path, postgres_url: str) -> Iterator[tuple[ContainerProcess, str]]:
    port = str(free_port())
    # The checkout may lie below a folder of another user.
    checkout = open_path / "checkout"
    python = checkout / Path(sys.executable).relative_to(ROOT)
    environment = {
        "PORT": port,
        "DATA_DIR": str(open_path / "data"),
        "DB_URL": postgres_url,
        "ADMIN_KEY": "an-admin-key",
        "PYTHONPATH": str(checkout / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [str(python), "-m", "llm_gateway", "serve"]
    container = ContainerProcess(open_path / "data", command, USER, environment, mounts={ROOT: checkout})
    yield container, f"http://127.0.0.1:{port}"
    container.stop()


def _once_served(container: ContainerProcess, url: str) -> httpx.Response:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return httpx.get(url)
        except httpx.TransportError:
            assert container.process.poll() is None, container.log()
            assert time.monotonic() < deadline, container.log()
            time.sleep(0.1)


def test_s4_22_the_command_serves_as_another_user_on_a_read_only_root(
    served: tuple[ContainerProcess, str],
) -> None:
    container, url = served
    answer = _once_served(container, f"{url}/health")
    assert answer.status_code == 200
    provider = {"provider_key": "s", "provider_type": "simulated", "api_base": "simulated://x"}
    admin = {"Authorization": "Bearer an-admin-key"}
    made = httpx.post(f"{url}/admin/v1/providers", json=provider, headers=admin)
    assert made.status_code == 201, made.text
    key = httpx.post(f"{url}/admin/v1/credentials", json={"name": "c"}, headers=admin).json()["key"]
    chat = httpx.post(
        f"{url}/v1/chat/completions",
        json={"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        headers={"Authorization": f"Bearer {key}"},
    )
    assert chat.status_code == 200, chat.text
    assert container.user_ids() == {str(USER)}
    assert container.stop() == 0, container.log()
