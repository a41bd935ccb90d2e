"""Settings of this machine do not reach the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.settings import Settings


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
