"""Translates the content parts of OpenAI's messages to Anthropic's content blocks."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.translating.data_urls import split_data_url
from llm_gateway.providers.translating.fields import unsupported_field
from llm_gateway.wire.openai_chat.conversation import (
    FileData,
    FilePart,
    ImagePart,
    Part,
    RefusalPart,
    TextPart,
)
from llm_gateway.wire.raw_json import JsonObject

PROVIDER = "Anthropic's Messages API"
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})

Content = dict[str, Any]


def text_block(text: str, cache_control: JsonObject | None = None) -> Content:
    return _with_cache_control({"type": "text", "text": text}, cache_control)


def text_of(part: Part, path: str) -> Content:
    """Translate a part of a message that allows only text; raise BadRequest for any other part."""
    if isinstance(part, TextPart):
        return text_block(part.text, part.cache_control)
    if isinstance(part, RefusalPart):
        return text_block(part.refusal, part.cache_control)
    raise unsupported_field(PROVIDER, path)


def block_of(part: Part, path: str, ignored_fields: list[str]) -> Content:
    """Translate a part of a user's or a tool's message; raise BadRequest if there is no block for it."""
    if isinstance(part, ImagePart):
        if part.image_url.detail not in {None, "auto"}:
            ignored_fields.append(f"{path}.image_url.detail")
        return _with_cache_control(_image(part.image_url.url, f"{path}.image_url.url"), part.cache_control)
    if isinstance(part, FilePart):
        return _with_cache_control(_file(part.file, f"{path}.file"), part.cache_control)
    return text_of(part, path)


def is_blank(block: Content) -> bool:
    """Tell whether a block is an empty or white-space text, which the API rejects."""
    return block["type"] == "text" and not block["text"].strip()


def _with_cache_control(block: Content, cache_control: JsonObject | None) -> Content:
    return block if cache_control is None else {**block, "cache_control": cache_control}


def _image(url: str, path: str) -> Content:
    if url.startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _data_url(url, path)
    if media_type not in _IMAGES:
        raise _unusable(path, "is not a JPEG, PNG, GIF or WebP image")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def _file(file: FileData, path: str) -> Content:
    if file.file_id is not None:
        return _with_title({"type": "document", "source": {"type": "file", "file_id": file.file_id}}, file)
    if file.file_data is None:
        raise _unusable(path, "has neither file_data nor file_id")
    media_type, data = _data_url(file.file_data, f"{path}.file_data")
    if media_type in _IMAGES:
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    if media_type == "application/pdf":
        source = {"type": "base64", "media_type": media_type, "data": data}
    elif media_type == "text/plain":
        source = {"type": "text", "media_type": media_type, "data": _decoded(data, f"{path}.file_data")}
    else:
        raise _unusable(f"{path}.file_data", "is not a PDF, plain text, or a JPEG, PNG, GIF or WebP image")
    return _with_title({"type": "document", "source": source}, file)


def _with_title(document: Content, file: FileData) -> Content:
    return {**document, "title": file.filename} if file.filename else document


def _data_url(url: str, path: str) -> tuple[str, str]:
    found = split_data_url(url)
    if found is None:
        raise _unusable(path, "is neither an http(s) URL nor a base64 data: URL")
    media_type, data = found
    return "image/jpeg" if media_type == "image/jpg" else media_type, data


def _decoded(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _unusable(path, "is not base64 of UTF-8 text") from None


def _unusable(path: str, why: str) -> BadRequest:
    message = f"The field '{path}' {why}, which this model's provider requires; it uses {PROVIDER}."
    return BadRequest(message, param=path, code="unsupported_by_provider")
