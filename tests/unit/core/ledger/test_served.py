"""What is encoded once for many requests can stand in any line as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.core.ledger.served import KnownFacts, client_facts, known_facts


def _known(**changes: Any) -> KnownFacts | None:
    values: dict[str, Any] = {
        "credential": "team",
        "tenant": None,
        "project": None,
        "provider": "main",
        "model": "m",
        "upstream_model": "theirs",
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "stream": True,
        "config_version": 3,
        **changes,
    }
    return known_facts(KnownFacts(**values))


def test_members_are_json_with_their_escapes() -> None:
    client = client_facts('one "quoted"', None)
    assert client is not None
    assert json.loads(f"{{{client.members}}}") == {"client_request_id": 'one "quoted"', "client_ip": None}
    known = _known(model="back\\slash", tenant="one")
    assert known is not None
    assert json.loads(f"{{{known.begin}}}")["model"] == "back\\slash"
    assert json.loads(f"{{{known.end}}}")["tenant"] == "one"
    assert "project" not in json.loads(f"{{{known.end}}}")


@pytest.mark.parametrize("text", ["größe", "\x7f", "\ud800", "\u202e", "long" * 1000])
def test_what_a_log_could_not_hold_as_it_is_is_not_encoded_ahead(text: str) -> None:
    assert client_facts(text, None) is None
    assert _known(model=text) is None
    assert _known(tenant=text) is None
