"""Failures that servers report with status 200, and what only looks like one."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.providers.openai.failures import error_in, failed_choice


@pytest.mark.parametrize(
    "value",
    [
        {"error": True},
        {"error": {"code": 5}},
        {"error": ["no"]},
        {"object": "error"},
        {"code": 401, "msg": "no"},
        {"code": "E1", "message": "no"},
        {"status": 500, "message": "no"},
        {"status": "error", "detail": "no"},
        {"success": False, "error_msg": "no"},
        {"detail": [{"loc": ["body"], "msg": "no"}]},
    ],
)
def test_an_error_of_any_shape_is_found(value: dict[str, Any]) -> None:
    assert error_in(value) is not None


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "error",
        {},
        {"type": "ping"},
        {"error": "none"},
        {"error": {"message": "", "code": 0}},
        {"code": 0, "msg": "ok"},
        {"code": "200", "message": "success"},
        {"status": "processing", "message": "in the queue"},
        {"status": "error", "message": "no", "choices": [{}]},
    ],
)
def test_what_only_looks_like_an_error_is_none(value: Any) -> None:
    assert error_in(value) is None


def test_the_reason_of_a_failed_choice_is_told_and_short() -> None:
    failed = failed_choice({"choices": [5, {"finish_reason": "stop"}, {"finish_reason": "error " * 99}]})
    assert failed is not None
    assert failed.type == "upstream_error"
    assert failed.message is not None
    assert len(failed.message) < 150


@pytest.mark.parametrize(
    "value", [None, {}, {"choices": "no"}, {"choices": [{"finish_reason": "stop", "error": None}]}]
)
def test_other_choices_did_not_fail(value: Any) -> None:
    assert failed_choice(value) is None
