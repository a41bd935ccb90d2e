"""The demo runs beside a configured gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.cli.programs import demo_settings
from llm_gateway.cli.settings_loader import load_settings


def test_the_demo_touches_nothing_but_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DB_URL", "REDIS_URL", "SECRET_KEY"):
        monkeypatch.setenv(name, "whatever")
    monkeypatch.setenv("AUTO_MIGRATE", "false")
    monkeypatch.setenv("DATA_DIR", "/somewhere")
    settings = demo_settings(load_settings())
    assert settings.data_dir == Path("/somewhere/demo")
    assert (settings.db_url, settings.redis_url, settings.secret_key, settings.auto_migrate) == (
        None,
        None,
        None,
        True,
    )
