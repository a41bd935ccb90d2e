"""Settings of usage records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llm_gateway.settings.values import setting


def _read_folder(text: str) -> Literal["off"] | Path:
    return "off" if text.lower() == "off" else Path(text)


@dataclass(frozen=True, kw_only=True)
class UsageSettings:
    """How usage is recorded."""

    usage_fsync: Literal["never", "interval", "always"] = setting(
        "interval",
        description="When usage records are synced to disk, so that a power cut does not lose them: interval (every"
        " 0.1 s), always (before the client gets the end of its reply; every request waits for the disk), never.",
    )
    usage_retention_days: int = setting(
        0,
        ge=0,
        description="Days after which usage rows, their attempts, and telemetry events are deleted; 0 keeps them.",
    )
    usage_rollup_retention_days: int = setting(
        0,
        ge=0,
        description="Days after which the sums are deleted that usage summaries are made of; 0 keeps them.",
    )
    csv_fallback_dir: Literal["off"] | Path | None = setting(
        None,
        read=_read_folder,
        description="Folder for telemetry.csv, a readable copy of the usage records that no database takes at the"
        " moment; off for none. Unset: DATA_DIR/telemetry_logs.",
    )
    journal_max_bytes: int = setting(
        1024 * 1024 * 1024,
        ge=1024 * 1024,
        description="Most bytes of usage records in DATA_DIR that one database does not have yet.",
    )
    tiktoken_cache_dir: Path | None = setting(
        None,
        description="Folder with tiktoken vocabularies, searched before DATA_DIR. The gateway never downloads"
        " any.",
    )
