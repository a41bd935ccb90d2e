"""Which content block each part of a message becomes, and which parts are rejected."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.providers.anthropic.parts import is_blank, text_block
from tests.fakes.anthropic_requests import USER, blocks, encoded, refused


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, kind: fields}


def test_files_become_documents_or_images() -> None:
    text = part("file", file_data="data:text/plain;charset=utf-8;base64,R3LDvGV6aQ==", filename="a.txt")
    image = part("file", file_data="data:image/jpg;base64,/9j/")
    stored = part("file", file_id="file_011")
    assert blocks(role="user", content=[text, image, stored]) == [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüezi"},
         "title": "a.txt"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_011"}},
    ]  # fmt: skip


def test_a_pdf_becomes_a_document() -> None:
    pdf = part("file", file_data="data:application/pdf;base64,JVBERi0=", filename="a.pdf")
    assert blocks(role="user", content=[pdf]) == [
        {"type": "document", "title": "a.pdf",
         "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
    ]  # fmt: skip


@pytest.mark.parametrize("url", ["https://example.com/a.png", "http://example.com/a.png"])
def test_images_may_be_urls(url: str) -> None:
    assert blocks(role="user", content=[part("image_url", url=url)]) == [
        {"type": "image", "source": {"type": "url", "url": url}}
    ]


def test_a_media_type_is_read_in_any_case_and_with_parameters() -> None:
    (block,) = blocks(role="user", content=[part("image_url", url="data:IMAGE/PNG;name=a;base64,AA==")])
    assert block["source"] == {"type": "base64", "media_type": "image/png", "data": "AA=="}


def test_cache_control_is_kept_on_every_part() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    parts = [
        {"type": "text", "text": "Hi"} | mark,
        part("image_url", url="https://example.com/a.png") | mark,
        part("file", file_id="file_011") | mark,
    ]
    assert [block["cache_control"] for block in blocks(role="user", content=parts)] == [
        {"type": "ephemeral"}
    ] * 3


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (part("image_url", url="data:image/bmp;base64,AA=="), "messages[0].content[0].image_url.url"),
        (part("image_url", url="ftp://example.com/a.png"), "messages[0].content[0].image_url.url"),
        (part("image_url", url="data:image/png,raw"), "messages[0].content[0].image_url.url"),
        (part("file", filename="a"), "messages[0].content[0].file"),
        (part("file", file_data="data:application/zip;base64,AA=="), "messages[0].content[0].file.file_data"),
        (part("file", file_data="data:text/plain;base64,/w=="), "messages[0].content[0].file.file_data"),
        (part("input_audio", data="AA==", format="wav"), "messages[0].content[0]"),
    ],
)
def test_unsupported_parts_are_rejected_by_their_path(content: dict[str, Any], param: str) -> None:
    fault = refused(messages=[{"role": "user", "content": [content]}])
    assert (fault.param, fault.code) == (param, "unsupported_by_provider")


def test_the_reason_for_a_rejection_is_in_the_message() -> None:
    fault = refused(
        messages=[{"role": "user", "content": [part("image_url", url="data:image/bmp;base64,AA==")]}]
    )
    assert fault.message == (
        "The field 'messages[0].content[0].image_url.url' is not a JPEG, PNG, GIF or WebP image, "
        "which this model's provider requires; it uses Anthropic's Messages API."
    )


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_only_users_and_tools_may_send_images(role: str) -> None:
    image = part("image_url", url="https://example.com/a.png")
    assert refused(messages=[USER, {"role": role, "content": [image]}]).param == "messages[1].content[0]"


def test_the_detail_of_an_image_is_ignored_and_reported() -> None:
    image = part("image_url", url="https://example.com/a.png", detail="high")
    made = encoded(messages=[{"role": "user", "content": [image]}])
    assert made.ignored_fields == ("messages[0].content[0].image_url.detail",)


def test_a_text_of_white_space_is_blank_and_another_block_never() -> None:
    assert [is_blank(text_block(text)) for text in ("", " \n", "x")] == [True, True, False]
    assert not is_blank({"type": "tool_result"})
