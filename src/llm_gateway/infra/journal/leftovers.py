"""Journals that no running gateway ships: moves one to another folder, and tells how much one still holds."""

from __future__ import annotations

import os
from pathlib import Path

from llm_gateway.infra.journal import files
from llm_gateway.infra.journal.positions import Positions

SHIPPER_LOCK = "shipper.flock"


def move_journal(old: Path, new: Path) -> bool:
    """Move the journal in `old` to `new`; return False when a running gateway still ships it. Raises OSError.

    Records that `old` has shipped already may be shipped again, which the store recognises.
    """
    try:
        lock = files.try_lock(old / SHIPPER_LOCK)
    except FileNotFoundError:
        # Another worker was first.
        return True
    if lock is None:
        return False
    try:
        if not new.exists():
            new.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            old.rename(new)
            return True
        # Positions stay behind: those of the new folder are in use.
        for incarnation, found in files.read_folder(old).incarnations.items():
            for file in found:
                (old / file.name).rename(new / file.name)
            files.forget(old, incarnation)
        for left in old.iterdir():
            if left.name == "rejected.jsonl":
                left.rename(new / f"rejected-{left.stat().st_mtime_ns}.jsonl")
            else:
                left.unlink()
        old.rmdir()
    finally:
        os.close(lock)
    return True


def unshipped_bytes(directory: Path) -> int:
    """Return the bytes of records in `directory` that wait for a gateway; 0 while one ships them."""
    try:
        # Not created here, unlike a shipper's own.
        lock = files.try_lock(directory / SHIPPER_LOCK) if directory.is_dir() else None
        if lock is None:
            return 0
        os.close(lock)
        positions = Positions(directory).read()
        return sum(
            max(file.size - positions.get(file.name, 0), 0) for file in files.read_folder(directory).files()
        )
    except OSError:
        return 0
