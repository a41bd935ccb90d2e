"""The console's settings, and the path that a proxy serves the gateway below."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llm_gateway.settings.console import ConsoleSettings


def settings(**values: Any) -> ConsoleSettings:
    return ConsoleSettings(_env_file=None, **values)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ConsoleSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_console_is_on_for_admins_alone() -> None:
    made = settings()
    assert (made.console, made.viewer_key, made.root_path) == ("on", None, None)
    assert made.console_session_hours == 12


@pytest.mark.parametrize("path", ["/gw", "/tools/gw-2", "/a.b/c_d~e", "/.well-known", "/...x"])
def test_a_root_path_may_have_several_segments(path: str) -> None:
    assert settings(root_path=path).root_path == path


@pytest.mark.parametrize(
    "path",
    ["", "/", "gw", "/gw/", "//gw", "/a//b", "/.", "/../x", "/a/..", "/a b", "/a?b", "/a#b", "/%67w", "/gé", "/...",
     "https://host.example/gw", "/gw\n"],
)  # fmt: skip
def test_a_root_path_that_links_cannot_begin_with_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="write it as /gw or /tools/gw"):
        settings(root_path=path)


@pytest.mark.parametrize("hours", [0, -1, 8761, "many", float("nan")])
def test_a_session_lasts_between_a_moment_and_a_year(hours: object) -> None:
    with pytest.raises(ValidationError):
        settings(console_session_hours=hours)
    assert settings(console_session_hours=0.5).console_session_hours == 0.5


def test_the_viewer_key_is_not_shown() -> None:
    assert "hush" not in repr(settings(viewer_key="hush"))
