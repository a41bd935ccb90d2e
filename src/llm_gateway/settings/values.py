"""What all settings have in common: where they come from, and what is taken off around a value."""

from __future__ import annotations

from pydantic import field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

# What editors and shells leave around a value; str.strip knows nothing of the last three, which nobody sees.
_AROUND = " \t\r\n\v\f\u00a0\u200b\u2060\ufeff"
_QUOTES = ("'", '"')


class SettingsSection(BaseSettings):
    """Some of the settings, from the environment and `.env`; names are not case-sensitive."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8-sig", extra="ignore", frozen=True, env_ignore_empty=True
    )


class CleanSettings(BaseSettings):
    """Takes off what surrounds a value. The first base of a class, so that it is done before all other checks."""

    @field_validator("*", mode="before")
    @classmethod
    def _clean(cls, value: object) -> object:
        return _without_surroundings(value) if isinstance(value, str) else value


def _without_surroundings(value: str) -> str:
    """Return the value without blanks, line ends, byte order mark and quotes around it; refuse what is no value."""
    text = value.strip(_AROUND)
    if len(text) > 1 and text[0] in _QUOTES and text.find(text[0], 1) == len(text) - 1:
        # A shell and .env files take quotes away, `docker run --env-file` and systemd's files do not always.
        text = text[1:-1].strip(_AROUND)
    if not text:
        raise PydanticCustomError("blank", "the value is blank; set one, or leave the variable unset")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text):
        raise PydanticCustomError("control", "the value contains a line break or another control character")
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        raise PydanticCustomError("encoding", "the value is not UTF-8 text")
    return text
