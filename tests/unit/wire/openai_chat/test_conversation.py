"""Messages, tools and formats as OpenAI's JSON spells them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.wire.openai_chat.conversation import (
    AudioData,
    AudioPart,
    FileData,
    FilePart,
    FunctionCall,
    FunctionName,
    ImagePart,
    ImageUrl,
    JsonSchema,
    Message,
    NamedTool,
    Part,
    RefusalPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)


def read(value: Any, as_type: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value), type=as_type)


@pytest.mark.parametrize(
    ("wire", "part"),
    [
        ({"type": "text", "text": "Hi"}, TextPart("Hi")),
        (
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
            ImagePart(ImageUrl("https://x.test/a.png", "low")),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            AudioPart(AudioData("UklGRg==", "wav")),
        ),
        ({"type": "file", "file": {"file_id": "f-1"}}, FilePart(FileData(file_id="f-1"))),
        ({"type": "refusal", "refusal": "No."}, RefusalPart("No.")),
    ],
)
def test_a_part_is_read_by_its_type(wire: dict[str, Any], part: Part) -> None:
    assert read(wire, Part) == part


@pytest.mark.parametrize(
    ("wire", "place"),
    [
        ({"type": "video", "video": {}}, r"\$\.type"),
        ({"text": "Hi"}, "missing required field `type`"),
        ({"type": "text"}, "missing required field `text`"),
        ({"type": "image_url", "image_url": "https://x.test"}, r"\$\.image_url"),
    ],
)
def test_a_part_of_another_shape_is_rejected_with_its_place(wire: dict[str, Any], place: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=place):
        read(wire, Part)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ()),
        ("", (TextPart(""),)),
        ("Hi", (TextPart("Hi"),)),
        ([], ()),
        ([TextPart("a"), RefusalPart("b")], (TextPart("a"), RefusalPart("b"))),
    ],
)
def test_a_messages_content_as_parts(content: Any, parts: tuple[Part, ...]) -> None:
    assert Message(role="user", content=content).parts == parts


def test_a_role_must_be_one_of_openais() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.role"):
        read({"role": "robot", "content": "Hi"}, Message)


def test_arguments_of_a_call_stay_a_string_and_default_to_an_empty_object() -> None:
    call = read({"id": "c", "type": "function", "function": {"name": "f"}}, ToolCall)
    assert call == ToolCall("c", FunctionCall("f", "{}"))
    arguments = '{"n": 12345678901234567890123}'
    call = read({"id": "c", "function": {"name": "f", "arguments": arguments}}, ToolCall)
    assert call.function.arguments == arguments


def test_json_schemas_are_carried_byte_for_byte() -> None:
    parameters = b'{"type":"object", "x": 1.0, "properties":{}}'
    wire = b'{"type":"function","function":{"name":"f","parameters":' + parameters + b"}}"
    function = msgspec.json.decode(wire, type=Tool).function
    assert function.parameters is not None
    assert {name: bytes(raw) for name, raw in function.parameters.items()} == {
        "type": b'"object"',
        "x": b"1.0",
        "properties": b"{}",
    }


@pytest.mark.parametrize(
    ("wire", "choice"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, NamedTool("function", FunctionName("f"))),
    ],
)
def test_a_tool_choice_is_a_word_or_a_function(wire: Any, choice: ToolChoice) -> None:
    assert read(wire, ToolChoice) == choice


@pytest.mark.parametrize("wire", ["any", {"type": "custom", "function": {"name": "f"}}, 5])
def test_other_tool_choices_are_rejected(wire: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(wire, ToolChoice)


def test_a_response_format_may_name_a_schema() -> None:
    wire = {"type": "json_schema", "json_schema": {"name": "s", "strict": True}}
    assert read(wire, ResponseFormat) == ResponseFormat("json_schema", JsonSchema("s", strict=True))
    with pytest.raises(msgspec.ValidationError, match=r"\$\.type"):
        read({"type": "xml"}, ResponseFormat)
