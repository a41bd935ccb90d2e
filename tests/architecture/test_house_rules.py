"""The rules of the house that no tool checks: size, names, opening sentences, and what is banned."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "llm_gateway"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST = 400
# Names that say nothing, and so collect everything.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "base_utils"}
BANNED = {
    "BaseHTTPMiddleware": "it costs 250 us a request and breaks cancellation; write plain ASGI",
    "BackgroundTasks": "what must happen is done before the reply's end, or by the journal",
}


def _name(module: Path) -> str:
    return str(module.relative_to(ROOT))


each_module = pytest.mark.parametrize("module", MODULES, ids=_name)


@each_module
def test_no_file_is_longer_than_one_can_keep_in_mind(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= LONGEST


@each_module
def test_names_say_what_is_inside(module: Path) -> None:
    parts = {part.removesuffix(".py") for part in module.relative_to(SOURCE).parts}
    assert parts & EMPTY_NAMES == set()


@each_module
def test_a_module_opens_with_why_it_exists(module: Path) -> None:
    opening = ast.get_docstring(ast.parse(module.read_text()))
    assert opening, "open the module with one sentence that says why it exists"
    assert opening.split("\n\n")[0].rstrip().endswith("."), "the opening is a sentence"


@each_module
def test_banned_names_are_not_used(module: Path) -> None:
    tree = ast.parse(module.read_text())
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert {name: BANNED[name] for name in used & BANNED.keys()} == {}


@each_module
def test_only_the_command_line_prints(module: Path) -> None:
    if module.relative_to(SOURCE).parts[0] in {"cli", "cli.py"}:
        return
    prints = [
        node.lineno
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert prints == []


@each_module
def test_nothing_is_built_at_import(module: Path) -> None:
    """A module that is imported starts no application, loop, pool or thread."""
    built = {
        ast.unparse(node.value.func)
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call)
    }
    started = {
        "FastAPI",
        "Starlette",
        "Settings",
        "create_app",
        "create_async_engine",
        "ThreadPoolExecutor",
        "Thread",
    }
    assert {name for name in built if name.rsplit(".", 1)[-1] in started} == set()


def test_importing_the_package_has_no_unexpected_folders() -> None:
    """A folder without `__init__.py` is invisible to the import contracts."""
    folders = {module.parent for module in MODULES}
    assert {_name(folder) for folder in folders if not (folder / "__init__.py").exists()} == set()


def _pins(file: str) -> dict[str, str]:
    text = (ROOT / "requirements" / file).read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("file", ["runtime.txt", "dev.txt"])
def test_requirements_name_no_index(file: str) -> None:
    text = (ROOT / "requirements" / file).read_text()
    assert (
        re.findall(
            r"(?:://|--index|--extra-index|--find-links|--trusted-host|^-[if] | @ ).*", text, re.MULTILINE
        )
        == []
    )


@pytest.mark.parametrize("file", ["runtime.txt", "dev.txt"])
def test_every_requirement_is_pinned_with_hashes(file: str) -> None:
    text = (ROOT / "requirements" / file).read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if "==" not in line or "--hash=sha256:" not in line] == []


def test_developers_run_what_users_run() -> None:
    runtime, dev = _pins("runtime.txt"), _pins("dev.txt")
    assert runtime == {name: dev.get(name) for name in runtime}
