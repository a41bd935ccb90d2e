"""Data URLs are split in linear time, however many parameters they have."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from llm_gateway.providers.translating.data_urls import split_data_url

MANY = 4_000_000


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("data:image/png;base64,AAAA", ("image/png", "AAAA")),
        ("DATA:Image/PNG;BASE64,AAAA", ("image/png", "AAAA")),
        ("data:text/plain;charset=utf-8;name=a;base64,AA==", ("text/plain", "AA==")),
        ("data:image/png;;base64,A,B", ("image/png", "A,B")),
        ("data:;base64,AAAA", ("", "AAAA")),
        ("data:image/png;base64,", ("image/png", "")),
        ("data:image/png;base64,A\nB", ("image/png", "A\nB")),
        ("data:image/png,AAAA", None),
        ("data:image/png;base64", None),
        ("data:base64,AAAA", None),
        ("data:image/png;xbase64,AAAA", None),
        ("data:,", None),
        ("data:", None),
        ("", None),
        ("https://x.test/a;base64,b", None),
    ],
)
def test_a_data_url_has_a_type_and_base64(url: str, wanted: tuple[str, str] | None) -> None:
    assert split_data_url(url) == wanted


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png" + ";a" * MANY,
        "data:image/png" + ";a" * MANY + ";base64,AAAA",
        "data:image/png;base64" * (MANY // 10),
        "data:" + "a" * 2 * MANY,
        "data:image/png;base64," + ",;" * MANY,
    ],
    ids=["no-data", "parameters", "repeated", "type", "data"],
)
def test_a_long_data_url_takes_linear_time_and_no_more_memory_than_its_data(url: str) -> None:
    tracemalloc.start()
    begun = time.process_time()
    split_data_url(url)
    assert time.process_time() - begun < 0.5
    assert tracemalloc.get_traced_memory()[1] < len(url) * 1.1
    tracemalloc.stop()
