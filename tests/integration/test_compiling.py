"""What the build makes of the sources in C: a wheel for this platform, or one for any without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fakes.compiled_parts import need_compiled

ROOT = Path(__file__).parents[2]
COMPILED = {
    "llm_gateway/core/ledger/_served_lines",
    "llm_gateway/infra/_shared_lock",
    "llm_gateway/infra/budgets/_slot_holder",
    "llm_gateway/infra/upstream/http11/_chunk_relay",
    "llm_gateway/infra/upstream/http11/_whole_reply",
    "llm_gateway/infra/upstream/http11/_whole_chunks",
    "llm_gateway/providers/openai/_quiet_run",
    "llm_gateway/providers/openai/_usual_event",
    "llm_gateway/sockets/_head_join",
    "llm_gateway/sockets/_head_match",
    "llm_gateway/sockets/_write_batch",
    "llm_gateway/wire/_field_cutter",
    "llm_gateway/wire/_field_sizes",
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a copy of what a wheel is built from."""
    folder = tmp_path / "sources"
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copytree(ROOT / "migrations", folder / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def wheel(sources: Path, **environment: str) -> tuple[str, set[str], str]:
    """Build a wheel; return its name, its compiled modules, and what the build said."""
    built = sources.parent / "wheels"
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    done = subprocess.run(
        command,
        cwd=sources,
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    [made] = built.iterdir()
    names = zipfile.ZipFile(made).namelist()
    return (
        made.name,
        {name.split(".")[0] for name in names if name.endswith(".so")},
        done.stdout + done.stderr,
    )


def test_a_compiler_makes_a_wheel_for_this_platform(sources: Path) -> None:
    need_compiled()
    name, compiled, _ = wheel(sources)
    assert compiled == COMPILED
    assert f"-cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-" in name
    # Nothing is left beside the sources.
    assert not list((sources / "src").rglob("*.so"))


@pytest.mark.parametrize("environment", [{"CC": "/no/such/compiler"}, {"LLM_GATEWAY_COMPILE": "never"}])
def test_without_a_compiler_the_wheel_is_for_any_platform(sources: Path, environment: dict[str, str]) -> None:
    name, compiled, said = wheel(sources, **environment)
    assert compiled == set()
    assert name.endswith("-py3-none-any.whl")
    assert ("_write_batch.c was not compiled" in said) == ("CC" in environment)


def test_another_wish_is_an_error(sources: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        wheel(sources, LLM_GATEWAY_COMPILE="no")
    assert "LLM_GATEWAY_COMPILE is 'no'; set it to auto or never" in failed.value.stderr


def test_what_lies_beside_the_sources_is_not_taken(sources: Path) -> None:
    for name in COMPILED:
        (sources / "src" / f"{name}.abi3.so").write_text("old")
    name, compiled, _ = wheel(sources, LLM_GATEWAY_COMPILE="never")
    assert (compiled, name.endswith("-py3-none-any.whl")) == (set(), True)


def test_a_source_that_does_not_compile_is_left_out_alone(sources: Path) -> None:
    need_compiled()
    (sources / "src/llm_gateway/sockets/_write_batch.c").write_text("#error not this one\n")
    name, compiled, said = wheel(sources)
    assert compiled == COMPILED - {"llm_gateway/sockets/_write_batch"}
    assert "_write_batch.c was not compiled, its way in Python is used: " in said
    assert not name.endswith("-py3-none-any.whl")


def test_without_what_is_compiled_the_gateway_works_in_python() -> None:
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({[name.replace('/', '.') for name in sorted(COMPILED)]}))\n"
        "from llm_gateway.core.ledger import served_lines\n"
        "from llm_gateway.infra import shared_lock\n"
        "from llm_gateway.infra.budgets import slot_holder\n"
        "from llm_gateway.infra.upstream.http11 import quiet_relay, whole_chunks, whole_reply\n"
        "from llm_gateway.providers.openai import quiet_run, usual_event\n"
        "from llm_gateway.sockets import head_join, head_match, write_batch\n"
        "from llm_gateway.wire import field_cutter, field_sizes\n"
        "parts = (quiet_relay, whole_chunks, whole_reply, quiet_run, head_join, head_match, write_batch,\n"
        "         field_cutter, field_sizes, shared_lock, slot_holder, usual_event, served_lines)\n"
        "assert not any(part.IS_COMPILED for part in parts)\n"
        "assert field_cutter.cut_fields is field_cutter.python_cut_fields\n"
        "assert field_sizes.weighed is field_sizes.python_weighed\n"
        "assert head_join.join_head is whole_reply.body_of is None\n"
        "assert served_lines.end_line is served_lines.python_end_line\n"
        "assert whole_chunks.cut_chunks is whole_chunks.python_cut_chunks\n"
        "assert quiet_run.quiet_end is quiet_run.python_quiet_end\n"
        "assert usual_event.usual_event is usual_event.python_usual_event\n"
        "assert head_match.match_head is head_match.python_match_head\n"
        "assert quiet_relay.make_receiver is quiet_relay.python_receiver\n"
        "assert shared_lock.make_shared_lock is shared_lock.python_shared_lock\n"
        "assert shared_lock.LOCK_KIND == 'flock'\n"
        "assert type(write_batch.make_write_batch()) is write_batch.WriteBatch\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
