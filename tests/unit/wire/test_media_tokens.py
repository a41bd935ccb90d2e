"""The tokens of images, audio and files in a request, by fixed rules."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.wire.media_tokens import media_tokens

PIXELS = "data:image/png;base64," + "A" * 1000


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "text", "text": "hi"}, 0),
        ({"type": "image_url", "image_url": {"url": PIXELS}}, 765),
        ({"type": "image_url", "image_url": {"url": PIXELS, "detail": "high"}}, 765),
        ({"type": "image_url", "image_url": {"url": PIXELS, "detail": "low"}}, 85),
        ({"type": "image_url", "image_url": PIXELS}, 765),
        ({"type": "input_image", "image_url": PIXELS}, 765),
        ({"type": "input_image", "file_id": "file_1", "detail": "low"}, 85),
        ({"type": "input_audio", "input_audio": {"data": "A" * 64_000, "format": "wav"}}, 10),
        ({"type": "input_audio", "input_audio": {"data": "A" * 21_330, "format": "mp3"}}, 10),
        ({"type": "input_audio", "input_audio": {"data": 5}}, 0),
        ({"type": "file", "file": {"file_data": "A" * 100_000}}, 2000),
        ({"type": "file", "file": {"file_id": "file_1"}}, 2000),
        ({"type": "input_file", "file_url": "https://example.org/a.pdf"}, 2000),
        ({"type": "input_file", "file_data": "A" * 100}, 2),
        ({"type": "new"}, 0),
        ({"type": ["image_url"]}, 0),
        ({}, 0),
        (5, 0),
    ],
)
def test_a_part_has_tokens_by_its_type(part: Any, tokens: int) -> None:
    assert media_tokens([{"role": "user", "content": [part, {"type": "text", "text": "and"}]}]) == tokens


def test_a_computers_screenshot_is_an_image() -> None:
    shot = {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": PIXELS}}
    assert (
        media_tokens([shot, {"type": "function_call_output", "output": [{"type": "input_image"}]}]) == 2 * 765
    )


@pytest.mark.parametrize("messages", [None, "hi", 5, [], [5, None], [{"content": "hi"}], [{"content": 5}]])
def test_messages_of_another_shape_have_none(messages: object) -> None:
    assert media_tokens(messages) == 0
