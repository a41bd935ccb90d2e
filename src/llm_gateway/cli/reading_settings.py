"""Reads the settings, and says in one line each what is wrong with them."""

from __future__ import annotations

from typing import get_args

from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from llm_gateway.settings import Settings


class WrongSettings(Exception):
    """Settings that make no sense; `lines` holds one message for each, which names the variable."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        """Hold the messages; they show no secret."""
        super().__init__("; ".join(lines))
        self.lines = lines


def read_settings() -> Settings:
    """Return the settings of the environment and `.env`; raise WrongSettings."""
    try:
        return Settings()
    except ValidationError as error:
        raise WrongSettings(tuple(_explain(dict(fault)) for fault in error.errors())) from None
    except SettingsError as error:
        raise WrongSettings((str(error),)) from None
    except OSError as error:
        raise WrongSettings((f"the file .env cannot be read: {error.strerror}.",)) from None
    except UnicodeDecodeError:
        raise WrongSettings(("the file .env is not UTF-8 text.",)) from None


def _explain(fault: dict[str, object]) -> str:
    location = fault["loc"]
    name = str(location[0]) if isinstance(location, tuple) and location else "settings"
    message = str(fault["msg"])
    sentence = message[:1].lower() + message[1:]
    if name not in Settings.model_fields or _is_secret(name):
        return f"{name.upper()}: {sentence}."
    return f"{name.upper()}={fault['input']}: {sentence}."


def _is_secret(name: str) -> bool:
    annotation = Settings.model_fields[name].annotation
    return annotation is SecretStr or SecretStr in get_args(annotation)
