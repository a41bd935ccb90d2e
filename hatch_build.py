"""Compiles the parts of the package that are also there in C; what cannot be compiled is left out.

Each of `src/llm_gateway/**/_*.c` stands beside a module that does the same in Python. LLM_GATEWAY_COMPILE=never
leaves them all out.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]  # the configuration of builders is not used
    """Adds compiled modules to a wheel, and puts those of an editable install beside their sources."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; called by hatchling before it collects the files."""
        wanted = os.environ.get("LLM_GATEWAY_COMPILE", "auto")
        if wanted not in {"auto", "never"}:
            raise ValueError(f"LLM_GATEWAY_COMPILE is {wanted!r}; set it to auto or never")
        source_root = Path(self.root, "src")
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        for source in sorted(source_root.rglob("_*.c")):
            place = source.relative_to(source_root).with_suffix(suffix)
            if version == "editable":
                (source_root / place).unlink(missing_ok=True)
            if wanted == "never":
                continue
            if version == "editable":
                self._compile(source, source_root / place)
                continue
            target = Path(self._folder(), place.name)
            if self._compile(source, target):
                build_data["force_include"][str(target)] = str(place)
                build_data["pure_python"], build_data["infer_tag"] = False, True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled for the wheel, which holds it by now."""
        del version, build_data, artifact_path
        if self._temporary is not None:
            self._temporary.cleanup()

    _temporary: tempfile.TemporaryDirectory[str] | None = None

    def _folder(self) -> str:
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="llm-gateway-build-")
        return self._temporary.name

    def _compile(self, source: Path, target: Path) -> bool:
        """Tell whether `target` was made."""
        # As Python's own modules are linked: `cc -shared`, and its like elsewhere.
        linker = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
        if compiler := os.environ.get("CC"):
            linker[:1] = shlex.split(compiler)
        options = [*shlex.split(sysconfig.get_config_var("CCSHARED") or ""), "-O2", "-Wall"]
        include = f"-I{sysconfig.get_path('include')}"
        try:
            subprocess.run(  # noqa: S603 - the compiler that built Python
                [*linker, *options, include, str(source), "-o", str(target)],
                check=True, capture_output=True, text=True, timeout=300,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[:1]
            self.app.display_warning(
                f"{source.name} was not compiled, its way in Python is used: {' '.join(reason)}"
            )
            return False
        return True
