"""Events that clients report of themselves, beside the records of their requests."""

from __future__ import annotations

from typing import Any, Final

import msgspec

# Of the attributes of one event as JSON, and of what is nested in them.
MOST_ATTRIBUTE_BYTES: Final = 16 * 1024
MOST_ATTRIBUTE_DEPTH: Final = 32


class TelemetryEvent(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="t", tag="event"
):
    """One event, as its client reports it: nothing in it is checked, and nothing is billed by it.

    `created_at` is when it arrived, in Unix microseconds. `client_ip` to `response_bytes` are the client's own words;
    `source_ip` is the address that it came from. `attributes` has all other members of what was sent, decoded; the
    journal leaves them out unless `are_bounded`.
    """

    event_id: str
    created_at: int
    event_type: str
    # Names the authenticated caller: the credential, and the user of a token.
    credential: str
    end_user: str | None = None
    source_ip: str | None = None
    request_id: str | None = None
    client_ip: str | None = None
    soeid: str | None = None
    project: str | None = None
    target_service: str | None = None
    endpoint: str | None = None
    method: str | None = None
    status_code: int | None = None
    latency_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    attributes: dict[str, Any] | None = None


def are_bounded(attributes: dict[str, Any]) -> bool:
    """Return whether attributes are JSON, and small enough to be kept: in bytes, and in depth."""
    level: list[object] = [attributes]
    for _ in range(MOST_ATTRIBUTE_DEPTH):
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        if not inner:
            break
        level = inner
    else:
        return False
    try:
        return len(msgspec.json.encode(attributes)) <= MOST_ATTRIBUTE_BYTES
    except (TypeError, ValueError):
        # What is not JSON, and text that is not Unicode.
        return False
