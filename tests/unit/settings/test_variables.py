"""Provider keys may name variables of the environment and of `.env`."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.settings.first_start import FirstStartSettings
from llm_gateway.settings.variables import named_variables


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in FirstStartSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_both_are_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("A=file\nB=file\nC='quoted'\nBLANK=\n")
    monkeypatch.setenv("B", "environment")
    monkeypatch.setenv("C", " ")
    found = named_variables(FirstStartSettings())
    assert (found["A"], found["B"], found["C"]) == ("file", "environment", "quoted")
    assert "BLANK" not in found


def test_keys_are_cleaned_as_settings_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from llm_gateway.settings import Settings

    monkeypatch.setenv("openai_api_key", '"sk-quoted"\r')
    assert named_variables(Settings())["OPENAI_API_KEY"] == "sk-quoted"


def test_a_file_that_is_no_text_is_left_to_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made = FirstStartSettings(_env_file=None)
    Path(".env").write_bytes(b"A=\xff\n")
    assert "A" not in named_variables(made)
