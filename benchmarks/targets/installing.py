"""Installs other gateways on request, each into its own folder outside the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.tools import BenchmarkFailed

HOW_TO_INSTALL = 'install it with: make bench ARGS="--install-peers"'
_PATIENCE = 1800


def home(peer: str) -> Path:
    """Return the folder that a peer is installed into."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "llm-gateway-bench" / peer


def missing(peer: str, wanted: str) -> str | None:
    """Return None if `wanted` (name and version) is completely installed, else how to install it."""
    try:
        found = _mark(peer).read_text().strip()
    except FileNotFoundError:
        return HOW_TO_INSTALL
    return None if found == wanted else f"{found} is installed instead of {wanted}; {HOW_TO_INSTALL}"


def install_python(peer: str, requirement: str) -> None:
    """Install a requirement into a virtual environment; pip's own configuration says where from."""
    folder = _empty(peer)
    _run(peer, [sys.executable, "-m", "venv", folder])
    _run(peer, [folder / "bin" / "python", "-m", "pip", "install", "--quiet", requirement])
    _mark(peer).write_text(requirement)


def install_npm(peer: str, package: str, version: str) -> None:
    """Install a package under a folder, without running scripts; npm's own configuration says where from."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise BenchmarkFailed(f"{peer} needs Node.js and npm: install them and try again")
    folder = _empty(peer)
    manifest: dict[str, Any] = {"private": True, "dependencies": {package: version}}
    (folder / "package.json").write_text(json.dumps(manifest))
    _run(
        peer, [npm, "install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    )
    _mark(peer).write_text(f"{package}@{version}")


def _mark(peer: str) -> Path:
    # Written last, so that an interrupted installation does not count as installed.
    return home(peer) / "installed"


def _empty(peer: str) -> Path:
    folder = home(peer)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _run(peer: str, command: list[str | Path]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise BenchmarkFailed(f"installing {peer} took over {_PATIENCE} s") from None
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip()[-2000:]
        raise BenchmarkFailed(f"{peer} could not be installed:\n{said}")
