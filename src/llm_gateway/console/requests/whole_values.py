"""Finds a value of which a page shows the beginning only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord


def whole_value(record: UsageRecord, attempts: Sequence[AttemptEnded], name: str) -> str | None:
    """Return the text of a field; None if there is none of this name, or nothing in it.

    `name` is a field of the row ("error_type"), a tag ("tags.team") or a field of an attempt ("attempts.2.detail").
    """
    first, _, rest = name.partition(".")
    if first == "tags" and rest:
        return (record.tags or {}).get(rest)
    if first == "attempts" and rest:
        number, _, field = rest.partition(".")
        found = next((one for one in attempts if str(one.attempt) == number), None)
        return None if found is None else _text(found, field)
    return _text(record, name)


def _text(fact: UsageRecord | AttemptEnded, field: str) -> str | None:
    value: Any = getattr(fact, field) if field in fact.__struct_fields__ else None
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.format(msgspec.json.encode(value)).decode()
