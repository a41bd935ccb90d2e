"""The console's settings, and the path that a proxy serves the gateway below."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.settings.console import ConsoleSettings
from llm_gateway.settings.reading import InvalidSettings, read_settings


def settings(**values: Any) -> ConsoleSettings:
    return read_settings(ConsoleSettings, {name.upper(): str(value) for name, value in values.items()})


def test_the_console_is_on_for_admins_alone() -> None:
    made = settings()
    assert (made.console, made.viewer_key, made.root_path) == ("on", None, None)
    assert made.console_session_hours == 12


@pytest.mark.parametrize("path", ["/gw", "/tools/gw-2", "/a.b/c_d~e", "/.well-known", "/...x"])
def test_a_root_path_may_have_several_segments(path: str) -> None:
    assert settings(root_path=path).root_path == path


@pytest.mark.parametrize(
    "path",
    ["/", "gw", "/gw/", "//gw", "/a//b", "/.", "/../x", "/a/..", "/a b", "/a?b", "/a#b", "/%67w", "/gé", "/...",
     "https://host.example/gw"],
)  # fmt: skip
def test_a_root_path_that_links_cannot_begin_with_is_refused(path: str) -> None:
    with pytest.raises(InvalidSettings, match="write it as /gw or /tools/gw"):
        settings(root_path=path)


@pytest.mark.parametrize("hours", [0, -1, 8761, "many", float("nan")])
def test_a_session_lasts_between_a_moment_and_a_year(hours: object) -> None:
    with pytest.raises(InvalidSettings):
        settings(console_session_hours=hours)
    assert settings(console_session_hours=0.5).console_session_hours == 0.5


def test_the_viewer_key_is_not_shown() -> None:
    assert "hush" not in repr(settings(viewer_key="hush"))
