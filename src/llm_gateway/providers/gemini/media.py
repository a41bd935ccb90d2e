"""Translates message parts: media in the request become inline data, media at an address become a file URI."""

from __future__ import annotations

from typing import Any

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.translating.data_urls import split_data_url
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
# Google fetches these itself; the gateway fetches nothing.
_FETCHED_BY_GOOGLE = ("https://", "gs://")
# Media types by suffix. Without a known suffix the type is omitted and Google detects it.
_MEDIA_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".heic": "image/heic", ".heif": "image/heif", ".pdf": "application/pdf", ".mp3": "audio/mp3", ".wav": "audio/wav",
    ".mp4": "video/mp4", ".txt": "text/plain",
}  # fmt: skip
_LONGEST_SUFFIX = max(map(len, _MEDIA_TYPES))


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
    if part.cache_control is not None:
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
    inline = split_data_url(address)
    if inline is not None and inline[0]:
        return {"inlineData": {"mimeType": inline[0], "data": inline[1]}}
    if not address.startswith(_FETCHED_BY_GOOGLE):
        message = (
            f"The field '{where}' must be 'data:<media type>;base64,<data>', or a URI that starts with https:// or "
            "gs://: this model's provider, which speaks Gemini, takes nothing else."
        )
        raise BadRequest(message, param=where, code="unsupported_by_provider")
    data = {"fileUri": address}
    media_type = _MEDIA_TYPES.get(_suffix(address))
    if media_type is not None:
        data["mimeType"] = media_type
    return {"fileData": data}


def _suffix(address: str) -> str:
    """Return the suffix of the last path segment of a URI, such as `.png`; "" if there is none."""
    path = address.partition("#")[0].partition("?")[0]
    name = path[path.rfind("/") + 1 :]
    return name[name.rfind(".") :].lower() if "." in name[-_LONGEST_SUFFIX:] else ""
