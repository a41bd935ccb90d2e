"""Rules of the source tree that no tool checks: sizes, names, opening sentences, banned names, pins."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "llm_gateway"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST = 400
MOST_MODULES = 15
# Names that say nothing about their content, and so attract anything.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "base_utils"}
BANNED = {
    "BaseHTTPMiddleware": "costs 250 us a request and breaks cancellation; write plain ASGI",
    "BackgroundTasks": "necessary work is done before the reply ends, or by the journal",
}


# Read once: several rules look at the same text.
TEXTS = {str(module.relative_to(SOURCE)): module.read_text() for module in MODULES}
TREES = {name: ast.parse(text) for name, text in TEXTS.items()}


def test_no_file_is_too_long() -> None:
    compiled = {path.name: path.read_text() for path in [*SOURCE.rglob("*.c"), *SOURCE.rglob("*.h")]}
    lengths = {name: len(text.splitlines()) for name, text in {**TEXTS, **compiled}.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_no_folder_has_too_many_modules() -> None:
    counts = Counter(module.parent for module in MODULES if module.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_names_say_what_is_inside() -> None:
    assert [
        name for name in TEXTS if EMPTY_NAMES & {part.removesuffix(".py") for part in Path(name).parts}
    ] == []


def test_a_module_opens_with_a_sentence() -> None:
    openings = {name: (ast.get_docstring(tree) or "").split("\n\n")[0] for name, tree in TREES.items()}
    assert [name for name, opening in openings.items() if not opening.rstrip().endswith(".")] == []


def test_banned_names_are_not_used() -> None:
    used = {
        (name, banned)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        for banned in BANNED.keys() & _names_in(node)
    }
    assert {f"{name}: {banned}: {BANNED[banned]}" for name, banned in used} == set()


def _names_in(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute):
        return {node.attr}
    if isinstance(node, ast.ImportFrom):
        return {alias.name for alias in node.names}
    return set()


def test_only_the_command_line_prints() -> None:
    prints = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        if not name.startswith("cli")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert prints == []


def test_nothing_is_started_by_an_import() -> None:
    """Importing a module creates no application, settings, pool or thread."""
    started = {
        "FastAPI",
        "Starlette",
        "Settings",
        "create_app",
        "create_async_engine",
        "ThreadPoolExecutor",
        "Thread",
    }
    calls = {
        f"{name}: {ast.unparse(node.value.func)}"
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr) and isinstance(node.value, ast.Call)
    }
    assert {call for call in calls if re.split(r"[ .]", call)[-1] in started} == set()


def test_every_folder_is_a_package() -> None:
    """A folder without `__init__.py` is invisible to the import contracts."""
    folders = {module.parent for module in MODULES}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


def _pins(file: str) -> dict[str, str]:
    text = (ROOT / "requirements" / file).read_text()
    return dict(re.findall(r"^([\w.-]+(?:\[[\w,.-]+\])?)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("file", ["runtime.txt", "otel.txt", "dev.txt"])
def test_requirements_name_no_index(file: str) -> None:
    text = (ROOT / "requirements" / file).read_text()
    assert (
        re.findall(
            r"(?:://|--index|--extra-index|--find-links|--trusted-host|^-[if] | @ ).*", text, re.MULTILINE
        )
        == []
    )


@pytest.mark.parametrize("file", ["runtime.txt", "otel.txt", "dev.txt"])
def test_every_requirement_is_pinned_with_hashes(file: str) -> None:
    text = (ROOT / "requirements" / file).read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if "==" not in line or "--hash=sha256:" not in line] == []


def test_developers_run_what_users_run() -> None:
    dev = _pins("dev.txt")
    for users in (_pins("runtime.txt"), _pins("otel.txt")):
        assert users == {name: dev.get(name) for name in users}
