"""One change of the catalog as a value; the note that is stored beside its version is rendered from it."""

from __future__ import annotations

import msgspec

from llm_gateway.flow.config.rows.base import StoredRow

# How notes call the fields that have another name in the admin API.
_API_NAMES = {"secret": "api_key", "key_hash": "key", "amount_nano_usd": "amount_usd"}
# Changes along with `key_hash`, or with `previous_key_expires_at`.
_IMPLIED = frozenset({"key_prefix", "previous_key_hash"})


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed which row, and how. Rows hold no secret in clear, so neither does this."""

    resource: str
    id: int
    # None when the change created the row.
    before: StoredRow | None
    # None when the change deleted the row.
    after: StoredRow | None
    actor: str
    # The changed fields of an update, under their names in the admin API. Not derived from the rows: two secrets
    # may look alike when masked.
    fields: tuple[str, ...] = ()
    # What an update is called that is more than its fields: "rotated".
    verb: str | None = None
    # What an admin should know about it, as sentences.
    warnings: tuple[str, ...] = ()

    def note(self) -> str:
        """Return the change as a sentence: "updated provider 'x': weight"."""
        if self.before is None:
            return f"created {_label(self.after)}"
        if self.after is None:
            return f"deleted {_label(self.before)}"
        if self.verb is not None:
            return f"{self.verb} {_label(self.before)}"
        return f"updated {_label(self.before)}: {', '.join(self.fields)}"


def api_fields(changed: dict[str, object]) -> tuple[str, ...]:
    """Return the names of `changed` fields as the admin API has them."""
    return tuple(_API_NAMES.get(name, name) for name in changed if name not in _IMPLIED)


def _label(row: StoredRow | None) -> str:
    return "nothing" if row is None else row.label
