"""Images, audio and files become inline data or URIs."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.providers.gemini.media import lost_fields, written_part
from llm_gateway.wire.openai_chat.conversation import (
    FileData,
    FilePart,
    ImagePart,
    ImageUrl,
    RefusalPart,
    TextPart,
)
from tests.fakes.gemini_wire import encode_body, encoding_error

PIXEL = "iVBORw0KGgo="


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("part", "written"),
    [
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://img.example/cat.PNG?x=1"}},
            {"fileData": {"fileUri": "https://img.example/cat.PNG?x=1", "mimeType": "image/png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://img.example/cat"}},
            {"fileData": {"fileUri": "https://img.example/cat"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
            {"inlineData": {"mimeType": "audio/wav", "data": PIXEL}},
        ),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXEL}"}},
            {"inlineData": {"mimeType": "application/pdf", "data": PIXEL}},
        ),
        (
            {
                "type": "file",
                "file": {"file_id": "https://generativelanguage.googleapis.com/v1beta/files/abc"},
            },
            {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        ),
    ],
)
def test_media_are_sent_inline_or_as_a_uri(part: dict[str, Any], written: dict[str, Any]) -> None:
    assert encode_body(messages=user({"type": "text", "text": "Look"}, part))["contents"] == [
        {"role": "user", "parts": [{"text": "Look"}, written]}
    ]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (
            {"type": "image_url", "image_url": {"url": "http://img.example/cat"}},
            "messages[0].content[0].image_url.url",
        ),
        ({"type": "file", "file": {"file_id": "file-abc"}}, "messages[0].content[0].file.file_id"),
        ({"type": "file", "file": {"file_data": "JVBERi0="}}, "messages[0].content[0].file.file_data"),
        ({"type": "file", "file": {}}, "messages[0].content[0].file"),
    ],
)
def test_media_that_google_cannot_fetch_are_rejected(part: dict[str, Any], param: str) -> None:
    assert encoding_error(messages=user(part)).param == param


def test_parameters_of_a_data_url_are_dropped() -> None:
    part = FilePart(file=FileData(file_data="data:text/plain;charset=utf-8;base64,eA=="))
    assert written_part(part, "x") == {"inlineData": {"mimeType": "text/plain", "data": "eA=="}}


def test_a_gcs_uri_is_passed_on() -> None:
    part = FilePart(file=FileData(file_id="gs://bucket/film.mp4"))
    expected = {"fileData": {"fileUri": "gs://bucket/film.mp4", "mimeType": "video/mp4"}}
    assert written_part(part, "x") == expected


def test_a_refusal_is_text() -> None:
    assert written_part(RefusalPart(refusal="No."), "x") == {"text": "No."}


@pytest.mark.parametrize(("detail", "lost"), [(None, []), ("auto", []), ("high", ["x.image_url.detail"])])
def test_only_a_detail_that_changes_something_is_lost(detail: Any, lost: list[str]) -> None:
    assert lost_fields(ImagePart(image_url=ImageUrl(url="https://a.example", detail=detail)), "x") == lost


def test_plain_text_loses_nothing() -> None:
    assert lost_fields(TextPart(text="x"), "x") == []
