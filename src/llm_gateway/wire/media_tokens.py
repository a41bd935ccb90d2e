"""Estimates the tokens of images, audio and files in a request: providers count them each in their own way."""

from __future__ import annotations

from typing import Any

# What OpenAI publishes for an image in low detail, and for one of 1024 x 1024 pixels in high detail.
_LOW_DETAIL, _HIGH_DETAIL = 85, 765
# OpenAI counts ten tokens for a second of audio: so many base64 characters of WAV (24 kHz, 16 bits), and of MP3
# (128 kbit/s), which stands for all compressed formats.
_WAV_CHARACTERS, _MP3_CHARACTERS = 6400, 2133
# A page of a PDF is about 2,000 tokens, and 100 KB in base64. A file that is not in the request counts as one page.
_PAGE_TOKENS, _FILE_CHARACTERS = 2000, 50
_IMAGES = frozenset({"image_url", "input_image", "computer_screenshot", "image"})
_FILES = frozenset({"file", "input_file"})


def media_tokens(messages: object) -> int:
    """Return the tokens of all that is not text in a chat's messages, or in the items of a response's input."""
    total = 0
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            total += sum(map(_part_tokens, _parts(message.get("content"))))
            total += sum(map(_part_tokens, _parts(message.get("output"))))
    return total


def _parts(value: object) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value]
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _part_tokens(part: dict[str, Any]) -> int:
    kind = part.get("type")
    # A chat's parts hold their values in an object of the type's name, those of the Responses API do not.
    if not isinstance(kind, str):
        return 0
    held = part.get(kind)
    values = held if isinstance(held, dict) else part
    if kind in _IMAGES:
        return _LOW_DETAIL if values.get("detail", part.get("detail")) == "low" else _HIGH_DETAIL
    if kind == "input_audio":
        data = values.get("data")
        size = _WAV_CHARACTERS if values.get("format") == "wav" else _MP3_CHARACTERS
        return -(-len(data) // size) if isinstance(data, str) else 0
    if kind in _FILES:
        data = values.get("file_data")
        return -(-len(data) // _FILE_CHARACTERS) if isinstance(data, str) else _PAGE_TOKENS
    return 0
