"""Plug-ins as installed packages: found by their entry points, imported, checked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from llm_gateway.infra.provider_plugins import load_provider_plugins
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.providers.registry import ADAPTERS
from tests.fakes.plugin_packages import install, source

MODULES = ("acme_llm", "parrot_llm", "broken_llm", "other_llm")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder to install into, which this process imports from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Return what is logged, with tracebacks."""
    found: list[str] = []
    number = logger.add(found.append, level="INFO", format="{level} {message}", diagnose=False)
    yield found
    logger.remove(number)


def test_without_plugins_there_is_nothing(lines: list[str]) -> None:
    assert load_provider_plugins(ADAPTERS) == {}
    assert lines == []


def test_kinds_come_by_their_names(site: Path, lines: list[str]) -> None:
    install(site, "acme-llm", {"acme": "acme_llm:ADAPTER"}, acme_llm=source("acme_llm"))
    install(
        site, "parrot-llm", {"parrot": "parrot_llm:ADAPTER"}, version="2.1", parrot_llm=source("parrot_llm")
    )
    loaded = load_provider_plugins(ADAPTERS)
    assert {name: adapter.kind.name for name, adapter in loaded.items()} == {
        "acme": "acme",
        "parrot": "parrot",
    }
    assert lines == [
        "INFO Provider kind 'acme' comes from acme-llm 1.0 (acme = acme_llm:ADAPTER).\n",
        "INFO Provider kind 'parrot' comes from parrot-llm 2.1 (parrot = parrot_llm:ADAPTER).\n",
    ]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def", "SyntaxError"),
        ("", "AttributeError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_left_out(
    site: Path, lines: list[str], module: str, reason: str
) -> None:
    install(site, "broken-llm", {"broken": "broken_llm:ADAPTER"}, broken_llm=module)
    install(site, "acme-llm", {"acme": "acme_llm:ADAPTER"}, acme_llm=source("acme_llm"))
    assert list(load_provider_plugins(ADAPTERS)) == ["acme"]
    assert lines[0].startswith(
        "ERROR The provider kind 'broken' is missing: broken-llm 1.0 (broken = broken_llm:ADAPTER) cannot be "
        "imported."
    )
    assert reason in lines[0]


def test_an_unusable_plugin_is_named_with_all_that_is_wrong(site: Path) -> None:
    install(site, "broken-llm", {"broken": "broken_llm:ADAPTER"}, broken_llm="ADAPTER = object()")
    install(site, "acme-llm", {"acmee": "acme_llm:ADAPTER"}, acme_llm=source("acme_llm"))
    with pytest.raises(StartupError) as caught:
        load_provider_plugins(ADAPTERS)
    assert str(caught.value) == (
        "acme-llm 1.0 (acmee = acme_llm:ADAPTER) is no usable provider plug-in: kind.name is 'acme', and must be the "
        "name of its entry point, 'acmee'.\n"
        "broken-llm 1.0 (broken = broken_llm:ADAPTER) is no usable provider plug-in: it is an object of the class "
        "object, and must be an adapter, whose `kind` is a Kind.\n"
        "Correct or uninstall what is named above."
    )


def test_a_builtin_kind_is_not_replaced(site: Path) -> None:
    install(site, "acme-llm", {"openai": "acme_llm:ADAPTER"}, acme_llm="raise RuntimeError('imported')")
    with pytest.raises(StartupError) as caught:
        load_provider_plugins(ADAPTERS)
    assert str(caught.value) == (
        "acme-llm 1.0 (openai = acme_llm:ADAPTER) offers the provider kind 'openai', which is built in. Give it "
        "another name, or uninstall the package."
    )


def test_two_packages_cannot_have_the_same_kind(site: Path) -> None:
    install(site, "acme-llm", {"acme": "acme_llm:ADAPTER"}, acme_llm=source("acme_llm"))
    install(site, "other-llm", {"acme": "other_llm:ADAPTER"}, other_llm=source("acme_llm"))
    with pytest.raises(StartupError) as caught:
        load_provider_plugins(ADAPTERS)
    assert str(caught.value) == (
        "acme-llm 1.0 (acme = acme_llm:ADAPTER) and other-llm 1.0 (acme = other_llm:ADAPTER) both offer the provider "
        "kind 'acme'. Uninstall one of them."
    )
