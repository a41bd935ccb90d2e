"""Translates message parts: media in the request become inline data, media at an address become a file URI."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from llm_gateway.core.errors import BadRequest
from llm_gateway.wire.openai_chat.conversation import (
    AudioPart,
    FileData,
    FilePart,
    ImagePart,
    Part,
    RefusalPart,
    TextPart,
)

JsonValue = dict[str, Any]
_DATA_URL = re.compile(r"data:(?P<type>[^;,]+)(?:;[^;,]+)*;base64,(?P<data>.*)", re.DOTALL)
# Google fetches these itself; the gateway fetches nothing.
_FETCHED_BY_GOOGLE = ("https://", "gs://")
# Media types by suffix. Without a known suffix the type is omitted and Google detects it.
_MEDIA_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".heic": "image/heic", ".heif": "image/heif", ".pdf": "application/pdf", ".mp3": "audio/mp3", ".wav": "audio/wav",
    ".mp4": "video/mp4", ".txt": "text/plain",
}  # fmt: skip


def written_part(part: Part, where: str) -> JsonValue:
    """Translate one part; `where` is its path in the request, used in errors.

    Raise BadRequest for media in a form that Gemini does not support.
    """
    if isinstance(part, TextPart):
        return {"text": part.text}
    if isinstance(part, RefusalPart):
        return {"text": part.refusal}
    if isinstance(part, ImagePart):
        return _media(part.image_url.url, f"{where}.image_url.url")
    if isinstance(part, AudioPart):
        sound = part.input_audio
        return {"inlineData": {"mimeType": f"audio/{sound.format}", "data": sound.data}}
    return _file(part.file, f"{where}.file")


def lost_fields(part: Part, where: str) -> list[str]:
    """Return the paths of a part's fields that Gemini has no counterpart for."""
    lost = []
    if isinstance(part, TextPart | ImagePart | FilePart) and part.cache_control is not None:
        lost.append(f"{where}.cache_control")
    if isinstance(part, ImagePart) and part.image_url.detail not in {None, "auto"}:
        lost.append(f"{where}.image_url.detail")
    if isinstance(part, FilePart) and part.file.filename is not None:
        lost.append(f"{where}.file.filename")
    return lost


def _file(file: FileData, where: str) -> JsonValue:
    if file.file_data is not None:
        return _media(file.file_data, f"{where}.file_data")
    if file.file_id is not None:
        return _media(file.file_id, f"{where}.file_id")
    raise BadRequest(f"The field '{where}' needs 'file_data' or 'file_id'.", param=where)


def _media(address: str, where: str) -> JsonValue:
    inline = _DATA_URL.fullmatch(address)
    if inline is not None:
        return {"inlineData": {"mimeType": inline["type"], "data": inline["data"]}}
    if not address.startswith(_FETCHED_BY_GOOGLE):
        message = (
            f"The field '{where}' must be 'data:<media type>;base64,<data>', or a URI that starts with https:// or "
            "gs://: this model's provider, which speaks Gemini, takes nothing else."
        )
        raise BadRequest(message, param=where, code="unsupported_by_provider")
    data = {"fileUri": address}
    media_type = _MEDIA_TYPES.get(PurePosixPath(urlsplit(address).path).suffix.lower())
    if media_type is not None:
        data["mimeType"] = media_type
    return {"fileData": data}
