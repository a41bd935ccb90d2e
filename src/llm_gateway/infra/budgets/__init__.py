"""What a machine has borrowed of budgets, shared by its workers, and the task that borrows and returns."""

from __future__ import annotations

from pathlib import Path

from llm_gateway.infra.budgets.bell import Bell
from llm_gateway.infra.budgets.share_file import ShareFile
from llm_gateway.infra.startup_error import StartupError


def open_shares(directory: Path, namespace: str, now: int) -> tuple[ShareFile, Bell]:
    """Join the workers that share budgets in `directory`; `namespace` names the database, `now` is Unix microseconds.

    Call it in the worker's own process, and close both. Raises StartupError.
    """
    try:
        file = ShareFile(directory, namespace, now)
        try:
            return file, Bell(file.folder / "bell")
        except OSError:
            file.close()
            raise
    except OSError as error:
        raise StartupError(
            f"Cannot share budgets through {directory} ({error.strerror or type(error).__name__}): "
            "make DATA_DIR a writable folder on a local disk."
        ) from error
