"""The fields of Gemini's JSON replies that the gateway uses, under Google's names; wrong ones are skipped."""

from __future__ import annotations

import msgspec

from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.lenient import lenient_decoder
from llm_gateway.wire.raw_json import JsonObject
from llm_gateway.wire.token_counts import OddCount, OddObject


class WireFunctionCall(msgspec.Struct, gc=False):
    """A function call by the model; only newer models send `id`; `args` is a JSON object."""

    name: str = ""
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class WirePart(msgspec.Struct, rename="camel", gc=False):
    """A part of an answer; `thought` marks a text as a summary of the model's thinking."""

    text: str | None = None
    thought: bool | None = None
    # Opaque; clients send it back with the same part.
    thought_signature: str | None = None
    function_call: WireFunctionCall | None = None
    # Images, audio and executed code, which a chat completion cannot represent.
    inline_data: JsonObject | None = None
    file_data: JsonObject | None = None
    executable_code: JsonObject | None = None
    code_execution_result: JsonObject | None = None


class WireContent(msgspec.Struct, gc=False):
    """An answer, or its next parts in a stream."""

    parts: list[WirePart] | None = None


class WireToken(msgspec.Struct, rename="camel", gc=False):
    """One token and its log probability."""

    token: str = ""
    log_probability: float = 0.0


class WireTopTokens(msgspec.Struct, gc=False):
    """The most likely tokens at one step, most likely first."""

    candidates: list[WireToken] | None = None


class WireLogprobs(msgspec.Struct, rename="camel", gc=False):
    """Log probabilities, one entry a step."""

    chosen_candidates: list[WireToken] | None = None
    top_candidates: list[WireTopTokens] | None = None


class WireCandidate(msgspec.Struct, rename="camel", gc=False):
    """One of the answers; `finish_reason` is set once it is complete."""

    content: WireContent | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int = 0
    logprobs_result: WireLogprobs | None = None


class WirePromptFeedback(msgspec.Struct, rename="camel", gc=False):
    """Why the provider blocked the prompt."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class WireModality(msgspec.Struct, rename="camel", gc=False):
    """How many tokens of a count are text, images, audio, and so on."""

    modality: OddCount = None
    token_count: int | OddCount = None


# A list with other values is read by the lenient decoder.
Modalities = list[WireModality] | float | str | bool | None


class WireUsage(msgspec.Struct, rename="camel", gc=False):
    """Token counts: `prompt` includes cached tokens, `candidates` excludes thoughts, `total` includes everything."""

    prompt_token_count: int | OddCount = None
    candidates_token_count: int | OddCount = None
    thoughts_token_count: int | OddCount = None
    tool_use_prompt_token_count: int | OddCount = None
    cached_content_token_count: int | OddCount = None
    total_token_count: int | OddCount = None
    prompt_tokens_details: Modalities = None
    candidates_tokens_details: Modalities = None
    cache_tokens_details: Modalities = None
    tool_use_prompt_tokens_details: Modalities = None
    # The Gemini API's word for how the request was served, and Vertex AI's.
    service_tier: OddCount = None
    traffic_type: OddCount = None


class WireReply(msgspec.Struct, rename="camel", gc=False):
    """A unary reply, or one event of a stream."""

    candidates: list[WireCandidate] | None = None
    prompt_feedback: WirePromptFeedback | None = None
    usage_metadata: WireUsage | OddObject = None
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class WireModel(msgspec.Struct, rename="camel", gc=False):
    """One model of a list."""

    name: str
    supported_generation_methods: list[str] | None = None


class WireModels(msgspec.Struct, gc=False):
    """A list of models; Google sends an empty one as `{}`."""

    models: list[WireModel] = []


_decode_reply = lenient_decoder(WireReply)
_decode_replies = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_models = msgspec.json.Decoder(WireModels).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_reply(body: bytes) -> WireReply:
    """Decode a reply or one event of a stream; raise BadReply for anything else."""
    try:
        return _decode_reply(body)
    except _UNREADABLE:
        message = "the provider's reply is not a generateContent reply"
        raise BadReply(message) from None


def is_list(body: bytes) -> bool:
    """Tell whether a body is a JSON list."""
    return body.lstrip().startswith(b"[")


def read_replies(body: bytes) -> list[WireReply]:
    """Decode one reply, or a list of the events of a stream; raise BadReply for anything else."""
    if not is_list(body):
        return [read_reply(body)]
    try:
        replies = _decode_replies(body)
    except _UNREADABLE:
        message = "the provider's reply is not a list of generateContent replies"
        raise BadReply(message) from None
    return [read_reply(bytes(reply)) for reply in replies]


def read_models(body: bytes) -> list[WireModel]:
    """Decode a list of models; raise BadReply for anything else."""
    try:
        return _decode_models(body).models
    except _UNREADABLE:
        message = "the provider's reply is not a list of models"
        raise BadReply(message) from None
