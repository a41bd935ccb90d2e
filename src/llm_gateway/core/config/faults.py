"""One thing that is wrong with one row of the catalog, as a value; edges render it as a sentence."""

from __future__ import annotations

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """Why a stored or submitted row cannot be served. Holds no secret."""

    # As rows call it: "provider", "task type", "tenant".
    resource: str
    # The row's name or provider_key.
    row: str
    # The field as the admin API names it, a path for nested ones: "api_base", "timeouts.idle".
    field: str
    # A sentence without its full stop that names the field itself.
    message: str
    # The row's id: names of credentials are not unique.
    id: int = 0

    def __str__(self) -> str:
        return f"{self.resource} {self.row!r}: {self.message}"
