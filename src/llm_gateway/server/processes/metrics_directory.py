"""The folder in which the workers of one boot share their metrics: created at startup, removed at shutdown."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "LLM_GATEWAY_METRICS_DIRECTORY"
_PREFIX = "metrics-"
_LOCK = "in_use.lock"
# Files of what holds while their worker lives.
_LIVE = ("live", "process", "deployments")


class MetricsDirectory:
    """Exists while the gateway runs; workers find it through an environment variable."""

    def __init__(self, run_dir: Path) -> None:
        """Create a folder in `run_dir`, and remove those of gateways that were killed. Raises OSError."""
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_abandoned(run_dir)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=run_dir))
        # Held until this process and all its workers have ended, however they end.
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.environ[VARIABLE] = str(self.path)

    def forget_worker(self, pid: int) -> None:
        """Drop the gauges of a worker that has exited; its counters stay."""
        for name in _LIVE:
            for file in self.path.glob(f"{name}-{pid}-*"):
                # A folder that cannot be written costs a wrong gauge, not the supervisor.
                with contextlib.suppress(OSError):
                    file.unlink()

    def remove(self) -> None:
        os.environ.pop(VARIABLE, None)
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_abandoned(run_dir: Path) -> None:
    for folder in run_dir.glob(_PREFIX + "*"):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            # Just being created, or not a metrics folder.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            # In use by another gateway.
            continue
        finally:
            os.close(lock)
