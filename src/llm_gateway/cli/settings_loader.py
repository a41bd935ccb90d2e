"""Loads the settings, and reports each invalid one in a line of its own."""

from __future__ import annotations

from typing import get_args

from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from llm_gateway.settings import Settings


class InvalidSettings(Exception):
    """Some settings are invalid; `lines` has one message for each, which names the variable and no secret."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def load_settings() -> Settings:
    """Return the settings from the environment and `.env`; raise InvalidSettings."""
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettings(tuple(_explain(dict(details)) for details in error.errors())) from None
    except SettingsError as error:
        raise InvalidSettings((str(error),)) from None
    except OSError as error:
        raise InvalidSettings((f"cannot read the file .env: {error.strerror}.",)) from None
    except UnicodeDecodeError:
        raise InvalidSettings(("the file .env is not UTF-8 text.",)) from None


def _explain(details: dict[str, object]) -> str:
    location = details["loc"]
    name = str(location[0]) if isinstance(location, tuple) and location else "settings"
    # Pydantic's words before those of a check of ours.
    message = str(details["msg"]).removeprefix("Value error, ")
    sentence = message[:1].lower() + message[1:]
    if name not in Settings.model_fields or _is_secret(name):
        return f"{name.upper()}: {sentence}."
    return f"{name.upper()}={_shown(details['input'])}: {sentence}."


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else ascii(text)


def _is_secret(name: str) -> bool:
    if name == "downstream_services":
        # URLs may hold passwords, by mistake.
        return True
    annotation = Settings.model_fields[name].annotation
    return annotation is SecretStr or SecretStr in get_args(annotation)
