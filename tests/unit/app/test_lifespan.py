"""What stops a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.app import prepare
from llm_gateway.app.lifespan import running
from llm_gateway.cli.settings_loader import load_settings
from llm_gateway.infra.startup_error import StartupError


@pytest.mark.parametrize(
    ("name", "value"), [("SSL_CERT_FILE", "/nowhere/hush.pem"), ("SSL_CERT_DIR", "/nowhere")]
)
async def test_certificates_that_cannot_be_used_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, name: str, value: str
) -> None:
    for each in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    settings = load_settings()
    await prepare(settings)
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupError, match=name):
        async with running(settings, ()):
            pass
