"""The packages of docs/architecture.md are those of the source, in the order that the import contract enforces."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
SOURCE = ROOT / "src/llm_gateway"


def test_s4_10_the_page_has_every_package_and_only_those() -> None:
    block = re.search(r"^src/llm_gateway/\n((?:  .*\n)+)", PAGE, re.MULTILINE)
    assert block is not None
    named = set(re.findall(r"^  (\w+)/ ", block[1], re.MULTILINE))
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert named | {"cli", "settings"} == folders


def test_s4_10_every_package_is_in_a_layer_that_imports_point_down() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(
        contract["layers"]
        for contract in contracts
        if contract["containers" if "containers" in contract else "name"] == ["llm_gateway"]
    )
    layered = {name for layer in layers for name in re.findall(r"\b(?<!\()\w+\b(?!\))", layer)}
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders - layered == {"settings"}
    # Users of a layer stand above it: clients' dialects above the flow, the flow above providers and values.
    order = {name: number for number, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    assert order["surfaces"] < order["flow"] < order["providers"] < order["core"]
    assert order["app"] < order["infra"]
