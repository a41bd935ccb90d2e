"""Where the numbers of a usage come from, in one word."""

from __future__ import annotations

from typing import get_args

import pytest

from llm_gateway.core.ledger.usage import CountSource, UsageSource, combined


@pytest.mark.parametrize(
    ("prompt", "completion", "expected"),
    [
        ("provider", "provider", "provider"),
        ("counted", "counted", "counted"),
        ("estimated", "estimated", "estimated"),
        ("counted", "estimated", "estimated"),
        ("estimated", "counted", "estimated"),
        ("provider", "counted", "provider/counted"),
        ("provider", "estimated", "provider/estimated"),
        ("counted", "provider", "counted/provider"),
        ("estimated", "provider", "estimated/provider"),
    ],
)
def test_the_source_tells_what_the_provider_stated(
    prompt: CountSource, completion: CountSource, expected: UsageSource
) -> None:
    assert combined(prompt, completion) == expected
    assert expected in get_args(UsageSource)
