from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = {
    "__init__.py": "from made_up import heavy\nfrom made_up.heavy import Thing\nfrom made_up.light import LIGHT\n"
    "from made_up.main import main, run\n",
    "heavy.py": "class Thing: pass\n",
    "light.py": "LIGHT = 1\n",
    "main.py": "def main(): pass\ndef run(): pass\n",
}


def run(folder: Path, program: str, **files: str) -> None:
    package = folder / "made_up"
    package.mkdir()
    for name, text in {**PACKAGE, **files}.items():
        (package / name).write_text(text)
    program = f"import sys\nfrom llm_gateway.core.partial_imports import import_without\n{program}"
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, timeout=60)


def test_the_modules_are_not_imported_until_a_name_of_theirs_is_used(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
import_without("made_up", "heavy", "main")
import made_up
assert made_up.LIGHT == 1
assert not {"made_up.heavy", "made_up.main"} & sys.modules.keys()
assert not hasattr(made_up, "other")
from made_up import Thing
assert Thing is sys.modules["made_up.heavy"].Thing
assert made_up.heavy is sys.modules["made_up.heavy"]
assert "made_up.main" not in sys.modules
assert made_up.run is sys.modules["made_up.main"].run
# The function, not the module of the same name, as without all this.
assert made_up.main is sys.modules["made_up.main"].main
""",
    )


def test_an_imported_package_stays_as_it_is(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
import made_up
before = dict(vars(made_up))
import_without("made_up", "heavy", "main")
assert vars(made_up) == before
assert made_up.Thing is sys.modules["made_up.heavy"].Thing
""",
    )


def test_nothing_is_left_of_a_package_that_cannot_be_imported(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
try:
    import_without("made_up", "heavy")
except ModuleNotFoundError as error:
    assert error.name == "missing", error
else:
    raise AssertionError
assert not [name for name in sys.modules if name.startswith("made_up")]
""",
        **{"__init__.py": "from made_up import heavy\nimport missing\n"},
    )


def test_a_package_that_needs_the_modules_at_once_is_imported_whole(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
import_without("made_up", "heavy", "main")
import made_up
assert issubclass(made_up.Other, sys.modules["made_up.heavy"].Thing)
assert made_up.main is sys.modules["made_up.main"].main
""",
        **{
            "__init__.py": PACKAGE["__init__.py"]
            + "class Other(Thing): pass\nOther.__mro__[1].__name__.upper()\n"
        },
    )


def test_what_the_gateway_imports_so_is_whole() -> None:
    program = """
import sys
import llm_gateway.server, llm_gateway.infra.metrics, llm_gateway.infra.sqlalchemy_asyncio
import prometheus_client, sqlalchemy.ext.asyncio, uvicorn
assert not {"click", "sqlalchemy.orm", "http.server"} & sys.modules.keys()
for package in (prometheus_client, sqlalchemy.ext.asyncio, uvicorn):
    names = getattr(package, "__all__", None) or ["AsyncSession", "async_scoped_session", "AsyncEngine"]
    assert all(hasattr(package, name) for name in names), package
assert uvicorn.Server is uvicorn.server.Server
assert uvicorn.run is sys.modules["uvicorn.main"].run
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
