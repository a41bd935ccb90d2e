"""run.sh, main.py and the scripts behind make start what they say, in the place of their own process."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.services import free_port

ROOT = Path(__file__).parents[2]
# Notes how it was called, as which process.
NOTING = '#!/bin/sh\necho "$$ $(pwd) $*"\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone whose .venv is installed, and whose `llm-gateway` is the one under test."""
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("pyproject.toml", "run.sh", "main.py", "Makefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    _program(tmp_path, "python", "#!/bin/sh\n")
    subprocess.run(
        [tmp_path / "scripts/install.sh"], check=True, stdin=subprocess.DEVNULL, capture_output=True
    )
    _program(tmp_path, "llm-gateway", f'#!/bin/sh\nexec "{sys.executable}" -m llm_gateway "$@"\n')
    return tmp_path


def _program(clone: Path, name: str, text: str) -> None:
    path = clone / ".venv/bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _run(clone: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=clone.parent,
        env={"PATH": os.environ["PATH"], "DATA_DIR": str(clone / "data"), **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("run.sh", "serve"), ("scripts/run.sh", "serve"), ("scripts/demo.sh", "demo")],
)
def test_s4_21_scripts_serve_in_the_place_of_their_own_process(
    clone: Path, script: str, arguments: str
) -> None:
    _program(clone, "llm-gateway", NOTING)
    process = subprocess.Popen([clone / script], cwd=clone.parent, stdout=subprocess.PIPE, text=True)
    printed, _ = process.communicate(timeout=30)
    assert printed == f"{process.pid} {clone} {arguments}\n"


def test_s4_20_db_migrate_goes_up_says_where_it_is_and_goes_one_step_down(clone: Path) -> None:
    script = str(clone / "scripts/db_migrate.sh")
    assert _run(clone, script, "version").stdout == "empty\n"
    up = _run(clone, script, "up")
    assert up.returncode == 0, up.stderr
    version = _run(clone, script, "version").stdout
    assert version == up.stdout
    assert version.strip() not in {"", "empty"}
    down = _run(clone, script, "down")
    assert down.returncode == 0, down.stderr
    assert _run(clone, script, "version").stdout == down.stdout != version


def test_s4_20_db_migrate_takes_db_url(clone: Path, postgres_url: str) -> None:
    script = str(clone / "scripts/db_migrate.sh")
    up = _run(clone, script, "up", DB_URL=postgres_url, ADMIN_KEY="an-admin-key-of-some-length")
    assert up.returncode == 0, up.stderr
    version = _run(clone, script, "version", DB_URL=postgres_url, ADMIN_KEY="an-admin-key-of-some-length")
    assert version.stdout == up.stdout


@pytest.mark.parametrize("arguments", [(), ("sideways",)])
def test_db_migrate_explains_itself(clone: Path, arguments: tuple[str, ...]) -> None:
    done = _run(clone, str(clone / "scripts/db_migrate.sh"), *arguments)
    assert done.returncode == 2
    assert done.stderr == "usage: scripts/db_migrate.sh up|version|down\n"


def test_s2_16_s4_21_python_main_py_serves(clone: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, clone / "main.py"],
        cwd=clone,
        env={"PATH": os.environ["PATH"], "PORT": str(free_port()), "DATA_DIR": str(clone / "data")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "/v1/chat/completions" in line:
                break
        assert "No provider is configured yet" in "".join(lines)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_s0_12_s2_16_requirements_txt_is_all_that_main_py_needs(clone: Path) -> None:
    for name in ("src", "migrations"):
        (clone / name).symlink_to(ROOT / name)
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-index", "--dry-run", "-r", ROOT / "requirements.txt"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stderr
    assert (ROOT / "requirements.txt").read_text().splitlines()[-1] == "-r requirements/runtime.txt"
    # Without `site`, an editable installation of the gateway is not found, but all that it needs is.
    done = _run(
        clone,
        sys.executable,
        "-S",
        "-c",
        f"import runpy, sys; sys.argv = ['main.py', '--help']; runpy.run_path({str(clone / 'main.py')!r}, "
        "run_name='__main__')",
        PYTHONPATH=sysconfig.get_paths()["purelib"],
    )
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout


def test_main_py_says_what_to_do_without_dependencies(clone: Path) -> None:
    done = _run(clone, sys.executable, "-I", "-S", str(clone / "main.py"))
    assert done.returncode == 1
    assert "`make install`" in done.stderr
    assert "Traceback" not in done.stderr


def test_s4_58_make_alone_lists_its_targets(clone: Path) -> None:
    done = _run(clone, "make", "-C", str(clone))
    assert done.returncode == 0
    listed = set(re.findall(r"^  make (\w+) +\S", done.stdout, re.MULTILINE))
    assert {"run", "test", "coverage", "format", "lint", "types"} <= listed
