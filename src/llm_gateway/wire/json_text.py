"""JSON values as compact text, to count tokens from."""

from __future__ import annotations

import json


def json_text(value: object) -> str:
    """Return JSON without blanks; "" for what is nested too deeply. Half a surrogate pair is written as it is."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return ""
