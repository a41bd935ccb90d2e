"""Installs packages that add provider kinds: a module and its metadata in a folder, as pip leaves them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/how-to/write-a-provider-kind.md"
SOURCES = Path(__file__).parent / "plugins"


def install(
    folder: Path, package: str, kinds: dict[str, str], *, version: str = "1.0", **modules: str
) -> Path:
    """Install a package whose entry points are `kinds`, with modules by their names; return `folder`.

    The folder then belongs on `sys.path`, or into PYTHONPATH.
    """
    metadata = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = [f"{name} = {place}" for name, place in kinds.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[llm_gateway.providers]", *lines, ""]))
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    return folder


def source(name: str) -> str:
    """Return the source of an example: `acme_llm` or `parrot_llm`."""
    return (SOURCES / f"{name}.py").read_text()


def page_blocks(language: str) -> list[str]:
    """Return the code blocks of the how-to page in a language, "" for commands."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [text for named, text in blocks if named == language]


def install_from_page(folder: Path) -> Path:
    """Install what the how-to page shows, word for word, and return `folder`."""
    [project] = map(tomllib.loads, page_blocks("toml"))
    acme, parrot = page_blocks("python")
    named = project["project"]
    kinds = named["entry-points"]["llm_gateway.providers"]
    install(folder, named["name"], kinds, version=named["version"], acme_llm=acme)
    return install(folder, "parrot-llm", {"parrot": "parrot_llm:ADAPTER"}, parrot_llm=parrot)
