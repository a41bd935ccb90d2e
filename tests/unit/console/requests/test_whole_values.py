"""Values of which a page shows the beginning only."""

from __future__ import annotations

import pytest

from llm_gateway.console.requests.whole_values import whole_value
from tests.fakes.usage_records import failed_attempt, record

ROW = record("r", tags={"team": "red", "a.b": "dotted"}, error_type="slow")
ATTEMPTS = [failed_attempt("r", detail="status 503"), failed_attempt("r", attempt=2, detail="gone")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("error_type", "slow"),
        ("tags.team", "red"),
        ("tags.a.b", "dotted"),
        ("tags", '{\n  "team": "red",\n  "a.b": "dotted"\n}'),
        ("attempts.2.detail", "gone"),
        ("attempts", "1"),
        ("tags.blue", None),
        ("attempts.3.detail", None),
        ("attempts.1.__class__", None),
        ("__class__", None),
        ("tenant", None),
        ("", None),
    ],
)
def test_a_value_is_found_by_its_name(name: str, text: str | None) -> None:
    assert whole_value(ROW, ATTEMPTS, name) == text
