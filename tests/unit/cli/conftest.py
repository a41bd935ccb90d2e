"""Settings of this machine do not reach the tests of the command line, and those do not reach other tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_gateway.settings import Settings
from llm_gateway.settings.reading import setting_names
from tests.fakes.process_logging import restored_logging


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in setting_names(Settings):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    # Commands set up the logging of their process, which is also that of the next tests here.
    with restored_logging():
        yield
