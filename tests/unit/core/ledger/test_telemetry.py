"""Attributes of events are bounded, whatever a client sends."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.ledger.telemetry import MOST_ATTRIBUTE_BYTES, MOST_ATTRIBUTE_DEPTH, are_bounded


def nested(depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for number in range(depth - 1):
        made = {"a": made if number % 2 else [made]}
    return made


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"client_id": "web", "n": 1.5, "flags": [True, None, {"deep": {}}]},
        {"text": "x" * (MOST_ATTRIBUTE_BYTES - 20)},
        nested(12),
    ],
)
def test_what_clients_send_is_kept(attributes: dict[str, Any]) -> None:
    assert are_bounded(attributes)


@pytest.mark.parametrize(
    "attributes",
    [
        {"text": "x" * MOST_ATTRIBUTE_BYTES},
        {"many": [0] * MOST_ATTRIBUTE_BYTES},
        nested(MOST_ATTRIBUTE_DEPTH + 2),
        nested(100_000),
        {"half": "\ud800"},
        {"what": object()},
    ],
)
def test_what_is_too_large_too_deep_or_no_json_is_not(attributes: dict[str, Any]) -> None:
    assert not are_bounded(attributes)
