"""What a configuration file holds: rows for the catalog, where each of their fields stands, and findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from llm_gateway.flow.config.rows.base import RowUpdate

Verdict = Literal["mapped", "dropped", "refused"]
FileFormat = Literal["gateway", "litellm", "environment"]
# Resource, name of the row, field; "" for the row as a whole.
FieldKey = tuple[str, str, str]


class Finding(msgspec.Struct, frozen=True):
    """What became of one field of a file in another format, or why something is not exported. Holds no secret."""

    # The field in its file: "model_list[0].litellm_params.rpm".
    path: str
    verdict: Verdict
    # A sentence without its full stop; empty for a field that is taken over as it is.
    message: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path} (line {self.line})"
        return f"{where}: {self.verdict}" + (f": {self.message}" if self.message else "")


class FileContents(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a file, in the order in which they are to be stored."""

    format: FileFormat
    updates: tuple[RowUpdate[Any], ...]
    # Where fields stand, as a sentence starts that complains: "line 12: providers.openai.base_url".
    places: Mapping[FieldKey, str] = {}
    findings: tuple[Finding, ...] = ()

    def place(self, resource: str, row: str, field: str) -> str | None:
        """Return where a field stands, or else its row."""
        name = field.partition(".")[0]
        return self.places.get((resource, row, name)) or self.places.get((resource, row, ""))
