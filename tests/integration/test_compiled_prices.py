"""The price book in the package is what `make prices` compiles, and the gateway needs nothing else to read it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from llm_gateway.infra.price_book.shipped import FILE, shipped_price_book

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> str:
    completed = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_file_is_what_the_pinned_package_compiles_to(tmp_path: Path, seed: str) -> None:
    """Byte by byte, so that two runs give the same. If this fails, run `make prices`."""
    compiled = tmp_path / "prices.json"
    run("-m", "scripts.compile_prices", str(compiled), PYTHONHASHSEED=seed, TZ="Asia/Kathmandu", LC_ALL="C")
    assert compiled.read_bytes() == FILE.read_bytes()


def test_the_version_names_the_package_and_the_content() -> None:
    source, _, digest = shipped_price_book().version.rpartition("-")
    pins = (ROOT / "requirements/dev.txt").read_text()
    assert f"{source.replace('genai-prices-', 'genai-prices==')} \\" in pins
    assert len(digest) == 12


def test_the_file_is_small() -> None:
    assert FILE.stat().st_size <= 512 * 1024


def test_the_book_is_read_without_the_package_that_it_is_compiled_from() -> None:
    script = (
        "import sys; from llm_gateway.infra.price_book.shipped import shipped_price_book;"
        "shipped_price_book().schedule('openai', 'gpt-4o');"
        "print('genai_prices' in sys.modules, 'pydantic' in sys.modules)"
    )
    assert run("-c", script) == "False False\n"


def test_the_wheel_has_the_file_and_its_license(tmp_path: Path) -> None:
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("llm_gateway/infra/price_book/prices.json") == FILE.read_bytes()
        assert b"MIT" in archive.read("llm_gateway/infra/price_book/NOTICE")
        assert not [name for name in archive.namelist() if "genai_prices" in name]
