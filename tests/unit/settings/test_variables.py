"""Provider keys may name variables of the environment and of `.env`."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest

from llm_gateway.cli.settings_loader import load_settings
from llm_gateway.settings.first_start import FirstStartSettings
from llm_gateway.settings.reading import setting_names
from llm_gateway.settings.variables import named_variables, setting_variables


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in setting_names(FirstStartSettings):
        monkeypatch.delenv(name.upper(), raising=False)


def test_both_are_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("A=file\nB=file\nC='quoted'\nBLANK=\n")
    monkeypatch.setenv("B", "environment")
    monkeypatch.setenv("C", " ")
    found = named_variables(FirstStartSettings())
    assert (found["A"], found["B"], found["C"]) == ("file", "environment", "quoted")
    assert "BLANK" not in found


def test_keys_are_cleaned_as_settings_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("openai_api_key", '"sk-quoted"\r')
    assert named_variables(load_settings())["OPENAI_API_KEY"] == "sk-quoted"


def test_a_file_that_is_no_text_is_left_to_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made = FirstStartSettings()
    Path(".env").write_bytes(b"A=\xff\n")
    assert "A" not in named_variables(made)


def test_settings_are_said_in_any_case_and_the_usual_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("port", "1")
    monkeypatch.setenv("Workers", "2")
    assert (setting_variables()["PORT"], setting_variables()["WORKERS"]) == ("1", "2")
    monkeypatch.setenv("PORT", "3")
    assert setting_variables()["PORT"] == "3"


def test_settings_of_the_file_count_where_the_environment_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text(
        "HOST=file\nPORT=file\nport=late\nDEBUG=${HOST}-more\nLOG_LEVEL\nMODEL=file\nSURL=\n"
    )
    monkeypatch.setenv("PORT", "environment")
    monkeypatch.setenv("MODEL", "")
    found = setting_variables()
    assert (found["HOST"], found["PORT"], found["DEBUG"], found["MODEL"]) == (
        "file", "environment", "file-more", "file",
    )  # fmt: skip
    assert not {"LOG_LEVEL", "SURL"} & found.keys()


def test_a_file_that_is_no_text_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_bytes(b"A=\xff\n")
    with pytest.raises(UnicodeDecodeError):
        setting_variables()


def test_a_folder_named_env_is_no_file() -> None:
    Path(".env").mkdir()
    assert ".env" not in setting_variables()


def test_a_pipe_named_env_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(".env")
    writer = Thread(target=Path(".env").write_text, args=("PORT=1\n",), daemon=True)
    writer.start()
    assert setting_variables()["PORT"] == "1"
    writer.join(10)
    # Nobody writes any more, so that a second reader would wait for ever.
    assert "PORT" not in named_variables(FirstStartSettings())


def test_names_of_other_scripts_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("\u017furl=x\n", encoding="utf-8")
    assert "SURL" not in setting_variables()
