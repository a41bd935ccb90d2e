"""Which store takes usage records, as the shipper of a machine tells all its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

_FILE_NAME = "status.json"
_encode = msgspec.json.Encoder().encode


class ShippingStatus(msgspec.Struct, frozen=True):
    """Where the usage records of a machine go now."""

    # The database, its backup, or none: the records wait in the journal.
    store: Literal["primary", "backup", "none"] = "primary"
    # Whether the backup holds records that the database does not have yet, as far as is known.
    backup_holds: bool = False
    # The readable copy of what waits, while there is one.
    csv_copy: str | None = None


_decode = msgspec.json.Decoder(ShippingStatus).decode


def write_status(directory: Path, status: ShippingStatus) -> None:
    """Replace the status of the journal in `directory`; raise OSError."""
    unfinished = directory / f".{_FILE_NAME}.new"
    unfinished.write_bytes(_encode(status))
    unfinished.replace(directory / _FILE_NAME)


def read_status(directory: Path) -> ShippingStatus:
    """Return the status that the shipper wrote last; the usual one if there is none."""
    try:
        return _decode((directory / _FILE_NAME).read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return ShippingStatus()
