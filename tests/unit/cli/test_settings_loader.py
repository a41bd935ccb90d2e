"""Each invalid setting is reported in a line of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.cli.settings_loader import InvalidSettings, load_settings
from llm_gateway.settings import Settings


def test_a_secret_setting_is_named_and_not_shown() -> None:
    with pytest.raises(InvalidSettings) as caught:
        # Not what an environment can hold, yet what pydantic complains about.
        raise_for(admin_key=["hush"])
    assert caught.value.lines[0].startswith("ADMIN_KEY: ")
    assert "hush" not in str(caught.value)


def raise_for(**values: object) -> None:
    from pydantic import ValidationError

    from llm_gateway.cli import settings_loader

    try:
        Settings.model_validate(values)
    except ValidationError as error:
        raise InvalidSettings(
            tuple(settings_loader._explain(dict(fault)) for fault in error.errors())
        ) from None


def test_an_env_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")
    with pytest.raises(InvalidSettings, match=r"\.env is not UTF-8"):
        load_settings()
