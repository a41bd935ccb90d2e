"""scripts/install.sh installs when it must, only then, and says clearly when it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Stands for the Python of .venv: notes what is asked of it.
PYTHON = """#!/bin/sh
case "$*" in *" install "*) echo "$@" >> "$(dirname "$0")/../../calls" ;; esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what the script needs, and a made-up .venv."""
    for name in ("pyproject.toml", "requirements", "scripts"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def _install(clone: Path, pins: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [clone / "scripts/install.sh", pins],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _new_calls(clone: Path) -> list[str]:
    calls = clone / "calls"
    if not calls.exists():
        return []
    lines = calls.read_text().splitlines()
    calls.unlink()
    return lines


def test_a_second_run_does_not_even_start_pip(clone: Path) -> None:
    assert _install(clone, "runtime").returncode == 0
    pinned, package = _new_calls(clone)
    assert "--require-hashes -r requirements/runtime.txt" in pinned
    assert "--no-deps --no-build-isolation --editable ." in package
    (clone / ".venv/bin/python").unlink()
    assert _install(clone, "runtime").returncode == 0


def test_dev_holds_runtime_but_not_the_other_way(clone: Path) -> None:
    _install(clone, "runtime")
    _new_calls(clone)
    _install(clone, "dev")
    assert "requirements/dev.txt" in _new_calls(clone)[0]
    _install(clone, "runtime")
    _install(clone, "dev")
    assert _new_calls(clone) == []


@pytest.mark.parametrize("pins", ["runtime", "dev"])
def test_changed_pins_are_installed(clone: Path, pins: str) -> None:
    _install(clone, pins)
    _new_calls(clone)
    with (clone / f"requirements/{pins}.txt").open("a") as file:
        file.write("# changed\n")
    _install(clone, pins)
    assert len(_new_calls(clone)) == 2


def test_settings_of_tools_are_no_reason_to_install(clone: Path) -> None:
    _install(clone, "runtime")
    _new_calls(clone)
    with (clone / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    _install(clone, "runtime")
    assert _new_calls(clone) == []


def test_a_failed_install_is_tried_again(clone: Path) -> None:
    python = clone / ".venv/bin/python"
    python.write_text(PYTHON.replace('calls" ;;', 'calls"; exit 1 ;;'))
    assert _install(clone, "runtime").returncode != 0
    python.write_text(PYTHON)
    _new_calls(clone)
    assert _install(clone, "runtime").returncode == 0
    assert len(_new_calls(clone)) == 2


def test_no_python_that_is_new_enough_is_said_clearly(clone: Path) -> None:
    shutil.rmtree(clone / ".venv")
    done = _install(clone, "runtime", PYTHON="/bin/false")
    assert done.returncode == 1
    assert done.stderr == "PYTHON=/bin/false is not a Python 3.11 or newer.\n"


def _made_up_python(folder: Path, *, new_enough: bool = True, quick: bool = False) -> Path:
    """Put a `python3` there that can tell of itself, and fails to make an environment."""
    folder.mkdir()
    python = folder / "python3"
    python.write_text(
        f"""#!/bin/sh
case "$*" in
  --version) echo "Python of {folder.name}" ;;
  *ensurepip*) exit {0 if quick else 1} ;;
  *version_info*) exit {0 if new_enough else 1} ;;
  *) exit 1 ;;
esac
"""
    )
    python.chmod(0o755)
    return python


def _tools(clone: Path) -> Path:
    """Return a folder with the script's own tools, and no Python of this machine."""
    tools = clone / "tools"
    tools.mkdir()
    for tool in ("bash", "cksum", "sed", "cmp", "dirname", "rm"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    return tools


@pytest.mark.parametrize(
    ("builds", "wanted"),
    [
        (("plain", "quick"), "quick"),
        (("old", "plain"), "plain"),
        (("quick", "plain"), "quick"),
        (("plain",), "plain"),
    ],
)
def test_a_python_built_to_be_quick_comes_first(clone: Path, builds: tuple[str, ...], wanted: str) -> None:
    shutil.rmtree(clone / ".venv")
    for build in builds:
        _made_up_python(clone / build, new_enough=build != "old", quick=build == "quick")
    _tools(clone)
    path = os.pathsep.join(str(clone / folder) for folder in (*builds, "tools"))
    done = _install(clone, "runtime", PATH=path, PYTHON="")
    assert done.stderr.startswith(f"Creating .venv with Python of {wanted} ({clone / wanted / 'python3'};")
    assert done.returncode == 1


def test_the_python_that_is_about_to_be_removed_is_not_chosen(clone: Path) -> None:
    shutil.rmtree(clone / ".venv")
    (clone / ".venv").mkdir()
    _made_up_python(clone / ".venv/bin", quick=True)
    _made_up_python(clone / "system")
    tools = _tools(clone)
    path = os.pathsep.join(map(str, (clone / ".venv/bin", clone / "system", tools)))
    done = _install(clone, "runtime", PATH=path, PYTHON="")
    assert done.stderr.startswith("Creating .venv with Python of system (")


def test_an_unknown_set_is_refused(clone: Path) -> None:
    done = _install(clone, "everything")
    assert done.returncode == 2
    assert "runtime, otel and dev" in done.stderr
