"""Templates escape everything, and an undefined name is an error rather than a gap."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import NoReturn

import pytest
from jinja2 import UndefinedError
from starlette.requests import Request

import llm_gateway.console
from llm_gateway.console import rendering
from llm_gateway.console.rendering import fragment, page
from llm_gateway.console.services import with_services
from tests.fakes.console_app import services

TEMPLATES = Path(llm_gateway.console.__file__).parent / "templates"


def _request() -> Request:
    request = Request({"type": "http", "path": "/console", "headers": []})
    with_services(request, services(), "")
    return request


def test_values_are_escaped() -> None:
    hostile = "<script>alert('\"')</script>"
    text = page(_request(), "sign_in.html", problem=hostile, target=hostile).body
    assert b"<script>alert" not in text
    assert b"&lt;script&gt;alert(&#39;&#34;&#39;)&lt;/script&gt;" in text


def test_half_a_surrogate_pair_is_shown_as_a_replacement() -> None:
    text = page(_request(), "sign_in.html", problem="a\ud800b", target="/console").body
    assert b"a?b" in text


def test_templates_are_those_that_the_process_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", fail)
    environment = copy.copy(rendering._ENVIRONMENT)
    environment.cache = None
    assert environment.get_template("components.html").name == "components.html"
    assert {*environment.list_templates()} == {
        path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.html")
    }


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        fragment(_request(), "sign_in.html", target="/console")


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_templates_have_no_inline_style_or_script_and_trust_no_value(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"<\w[^<>]*\s(style|on\w+)=", text)
    assert "<style" not in text
    assert "javascript:" not in text
    assert "| safe" not in text
    assert "autoescape false" not in text
