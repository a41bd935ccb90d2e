"""A chat as typed values: the parts of `messages`, `tools` and `response_format` that translating adapters read."""

from __future__ import annotations

from typing import Literal

import msgspec

from llm_gateway.wire.raw_json import JsonObject


class ImageUrl(msgspec.Struct, frozen=True, gc=False):
    """An address, or `data:<media type>;base64,<data>`."""

    url: str
    detail: str | None = None


class AudioData(msgspec.Struct, frozen=True, gc=False):
    """Base64 data and its format, such as `wav` or `mp3`."""

    data: str
    format: str


class FileData(msgspec.Struct, frozen=True, gc=False):
    """A file: `file_data` is `data:<media type>;base64,<data>`, `file_id` names a file stored at a provider."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class TextPart(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    """Text; `cache_control` is an Anthropic extension, sent only where it is supported."""

    text: str
    cache_control: JsonObject | None = None


class ImagePart(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageUrl
    cache_control: JsonObject | None = None


class AudioPart(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="input_audio"):
    """Sound."""

    input_audio: AudioData
    cache_control: JsonObject | None = None


class FilePart(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="file"):
    """A document."""

    file: FileData
    cache_control: JsonObject | None = None


class RefusalPart(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="refusal"):
    """An assistant's refusal."""

    refusal: str
    cache_control: JsonObject | None = None


Part = TextPart | ImagePart | AudioPart | FilePart | RefusalPart


class FunctionCall(msgspec.Struct, frozen=True, gc=False):
    """A function's name and its arguments, which are JSON in a string."""

    name: str
    arguments: str = "{}"


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """One call that an assistant made; `extra_content` is provider data to send back unchanged."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"
    extra_content: JsonObject | None = None
    cache_control: JsonObject | None = None


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message. `reasoning_details` and `extra_content` are provider data to send back unchanged."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[JsonObject] | None = None
    extra_content: JsonObject | None = None
    # Some clients put it here instead of on a part.
    cache_control: JsonObject | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return the content as parts; a plain string is one text part."""
        if self.content is None:
            return ()
        return (TextPart(self.content),) if isinstance(self.content, str) else tuple(self.content)


class Function(msgspec.Struct, frozen=True, gc=False):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True, gc=False):
    """One tool."""

    type: Literal["function"]
    function: Function
    cache_control: JsonObject | None = None


class FunctionName(msgspec.Struct, frozen=True, gc=False):
    """Names one function."""

    name: str


class NamedTool(msgspec.Struct, frozen=True, gc=False):
    """The one tool that the model must call."""

    type: Literal["function"]
    function: FunctionName


ToolChoice = Literal["none", "auto", "required"] | NamedTool


class JsonSchema(msgspec.Struct, frozen=True, gc=False):
    """A named JSON schema; a `schema` of None allows any object."""

    name: str
    schema: JsonObject | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True, gc=False):
    """The required shape of the answer; `json_schema` belongs to that type only."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Conversation(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One typed request. None = not given. `max_tokens` may come from `max_completion_tokens`, which wins.

    `rest` holds the other top-level fields that are not null. Each adapter sends, rejects or ignores every one of
    them explicitly (see `providers/translating/fields.py`).
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    reasoning_effort: str | None = None
    rest: JsonObject = {}
    # Fields inside messages, parts or tools that have no typed form, as paths such as "messages[2].audio".
    unknown: tuple[str, ...] = ()
