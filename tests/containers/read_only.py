"""Runs a command as a container would: as another user, without privileges, on a root that is read-only."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services import without_a_part

SECONDS = 60.0


class ContainerProcess:
    """A process that may write to `folder` alone, which is its working directory."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        user: int,
        environment: Mapping[str, str] | None = None,
        *,
        mounts: Mapping[Path, Path] | None = None,
    ) -> None:
        """`folder` is made, in one that every user may pass (the fixture `open_path`).

        `mounts` are folders, and the places where the process sees them, to read only.
        """
        if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
            without_a_part("needs root, unshare and setpriv to run a command as in a container")
        folder.mkdir()
        os.chown(folder, user, user)
        steps = ["mount --make-rprivate /"]
        # A bind mount of its own keeps the folder writable when the root below it is not.
        steps.append(shlex.join(["mount", "--bind", str(folder), str(folder)]))
        for source, place in (mounts or {}).items():
            place.mkdir()
            steps.append(shlex.join(["mount", "--bind", str(source), str(place)]))
            steps.append(shlex.join(["mount", "-o", "remount,bind,ro", str(place)]))
        steps.append("mount -o remount,bind,ro /")
        steps.append(shlex.join(["cd", str(folder)]))
        unprivileged = [
            *("setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"),
            *("--no-new-privs", "--inh-caps=-all"),
        ]
        steps.append(f"exec {shlex.join([*unprivileged, *command])}")
        self._log = folder.with_suffix(".log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", " && ".join(steps)],
                env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **(environment or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log(self) -> str:
        """Return what it has printed."""
        return self._log.read_text()

    def user_ids(self) -> set[str]:
        """Return its real, effective, saved and file-system user id."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return set(next(line for line in lines if line.startswith("Uid:")).split()[1:])

    def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(SECONDS)
