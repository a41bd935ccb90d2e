"""Whether a list of models is the whole of it."""

from __future__ import annotations

import pytest

from llm_gateway.wire.model_lists import has_more_pages


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[],"has_more":true}',
        b'{"models":[],"nextPageToken":"t"}',
        b'{"data":[],"next":"https://x/2"}',
    ],
)
def test_a_page_names_the_next_one(body: bytes) -> None:
    assert has_more_pages(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[],"has_more":false}', b'{"data":[],"has_more":null,"first_id":"a"}', b'{"models":[]}', b"[]",
        b'{"models":[],"nextPageToken":""}', b"", b"\xff", b"[" * 100_000,
    ],
)  # fmt: skip
def test_anything_else_is_not_known_to_have_more(body: bytes) -> None:
    assert not has_more_pages(body)
