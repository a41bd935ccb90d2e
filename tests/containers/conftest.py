"""Folders for processes that run as other users."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Yield an empty folder that every user may pass.

    pytest's own folders are closed to others, and closed again whenever another pytest starts on this machine.
    """
    folder = Path(tempfile.mkdtemp(prefix="llm-gateway-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
