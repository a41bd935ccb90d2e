"""Writes docs/reference-systems.md: which tests show which row of the five systems that the gateway replaces.

A test shows a row if its name, or the id of one of its parameters, has the row's id: `test_s4_38_a_provider_is_made`,
`test_s4_38_to_42_...` (a range), `test_s4_47_s4_48_...` (several). What is not built as a document has it stands in
a table of docs/deviations.md, rows first. `python -m tests.docs.reference_systems` writes the page.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
ROWS = Path(__file__).parent / "reference_rows.toml"
PAGE = ROOT / "docs/reference-systems.md"
DEVIATIONS = ROOT / "docs/deviations.md"
INTRODUCTION = """\
# Reference systems

The gateway replaces five earlier systems, here S0 to S4. Each row is something that the documents of one of them
promise, with the tests that show it, whose names carry the row's id (`test_s4_38_...`), and what is
[different](deviations.md) here.
`python -m tests.docs.reference_systems` writes this page, and a test checks it."""
# How the kinds of tests are preferred where several show a row: those that run the whole gateway come first.
_KINDS = ("e2e", "integration", "contract", "property", "docs", "architecture", "unit")
_MOST_FILES = 2
_NAME = re.compile(r"(?<![a-z0-9])s([0-4])_(\d+)(?:_to_(?:s\1_)?(\d+))?(?![0-9])")
_WRITTEN = re.compile(r"\bS([0-4])\.(\d+)(?:\s+to\s+(?:S\1\.)?(\d+))?\b")


@dataclass(frozen=True)
class Row:
    """One promise of a document: its id, such as "S4.38", and what it says."""

    id: str
    text: str


@dataclass(frozen=True)
class ReferenceSystem:
    """One of the systems that the gateway replaces."""

    id: str
    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Checklist:
    """All systems, the rows that are still to be built, and those of which a part is."""

    systems: tuple[ReferenceSystem, ...]
    planned: frozenset[str]
    # What is missing, by row.
    partly: Mapping[str, str]

    @property
    def ids(self) -> list[str]:
        """Return the ids of all rows, in order."""
        return [row.id for system in self.systems for row in system.rows]


@dataclass(frozen=True, order=True)
class NamedTest:
    """A test that carries a row's id: its file below the repository, and its name or its parameter's id."""

    file: str
    name: str


def checklist(path: Path = ROWS) -> Checklist:
    """Read the rows."""
    read = tomllib.loads(path.read_text())
    planned, partly = frozenset(read.pop("planned")), read.pop("partly")
    systems = tuple(
        ReferenceSystem(
            name,
            table.pop("title"),
            tuple(Row(f"{name}.{number}", text) for number, text in table.items()),
        )
        for name, table in read.items()
    )
    return Checklist(systems, planned, partly)


def ids_in_name(name: str) -> list[str]:
    """Return the rows whose ids a name carries: "s4_38_to_40_x" has S4.38, S4.39 and S4.40."""
    return _ids(_NAME.finditer(name))


def ids_in_text(text: str) -> list[str]:
    """Return the rows that a text names: "S4.38 to S4.40, S3.1"."""
    return _ids(_WRITTEN.finditer(text))


def _ids(found: Iterable[re.Match[str]]) -> list[str]:
    return [
        f"S{match[1]}.{number}"
        for match in found
        for number in range(int(match[2]), int(match[3] or match[2]) + 1)
    ]


def row_tests(folder: Path = TESTS) -> dict[str, list[NamedTest]]:
    """Return the tests of each row that any test names, whether the row exists or not."""
    found: defaultdict[str, set[NamedTest]] = defaultdict(set)
    for path in sorted(folder.rglob("test_*.py")):
        file = f"tests/{path.relative_to(folder).as_posix()}"
        for name in _names(ast.parse(path.read_text())):
            for row in ids_in_name(name):
                found[row].add(NamedTest(file, name))
    return {row: sorted(tests) for row, tests in found.items()}


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield the names of tests, and the ids of their parameters."""
    parameters = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_parametrized(node.func)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name
    for call in parameters:
        for keyword in call.keywords:
            if keyword.arg in {"id", "ids"}:
                yield from _texts(keyword.value)


def _is_parametrized(function: ast.expr) -> bool:
    return ast.unparse(function) in {"pytest.param", "pytest.mark.parametrize", "param"}


def _texts(node: ast.expr) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def deviations(page: str | None = None) -> dict[str, str]:
    """Return what docs/deviations.md says of each row that it names: "here" and "why" of the table."""
    text = DEVIATIONS.read_text() if page is None else page
    found: dict[str, str] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("| ") or len(cells) != 4:
            continue
        rows, _, here, why = cells
        for row in ids_in_text(rows):
            said = f"{_capital(here).rstrip('.')}. {why}"
            found[row] = f"{found[row]} {said}" if row in found else said
    return found


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def page(rows: Checklist, tests: Mapping[str, list[NamedTest]], differences: Mapping[str, str]) -> str:
    """Return the page: a table for each system."""
    parts = [INTRODUCTION]
    for system in rows.systems:
        lines = [f"## {system.id}: {system.title}", "", "| row | what | shown by | different here |"]
        lines.append("|---|---|---|---|")
        for row in system.rows:
            shown = "not yet" if row.id in rows.planned else _links(tests.get(row.id, []))
            if row.id in rows.partly:
                shown = f"{shown}; not yet: {rows.partly[row.id]}"
            lines.append(f"| {row.id} | {row.text} | {shown} | {differences.get(row.id, '')} |")
        parts.append("\n".join(re.sub(r"\|  (?=\|)", "| ", line) for line in lines))
    return "\n\n".join(parts) + "\n"


def _links(tests: Iterable[NamedTest]) -> str:
    files = sorted({test.file for test in tests}, key=lambda file: (_kind(file), file))
    links = [f"[{file.removeprefix('tests/')}](../{file})" for file in files[:_MOST_FILES]]
    return ", ".join(links)


def _kind(file: str) -> int:
    kind = file.split("/")[1]
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)


def missing(
    rows: Checklist, tests: Mapping[str, list[NamedTest]], differences: Mapping[str, str]
) -> list[str]:
    """Return the rows that no test shows, that no difference explains and that are not planned."""
    return [row for row in rows.ids if row not in {*tests, *differences, *rows.planned}]


def main() -> None:
    """Write the page, and print the rows that nothing shows."""
    rows, tests, differences = checklist(), row_tests(), deviations()
    PAGE.write_text(page(rows, tests, differences))
    for row in missing(rows, tests, differences):
        sys.stdout.write(f"{row} has no test and no deviation\n")
    for row in missing(rows, tests, {}):
        if row in differences:
            sys.stdout.write(f"{row} has a deviation and no test\n")


if __name__ == "__main__":
    main()
