"""All that the author of a provider kind needs: what is named here changes only with a note in the changelog."""

from __future__ import annotations

from llm_gateway.core.config.deployments import Deployment, EnabledProvider
from llm_gateway.core.config.providers import Kind
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import Adapter, Completion, ReplyStream, UpstreamErrorBody, UpstreamRequest
from llm_gateway.providers.lazy import OnFirstUse
from llm_gateway.providers.openai.adapter import OpenAIAdapter
from llm_gateway.providers.translating.data_urls import split_data_url
from llm_gateway.providers.translating.fields import check_unsupported, unsupported_field
from llm_gateway.providers.translating.json_lines import JsonLinesStream
from llm_gateway.providers.translating.stream import TranslatedStream
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.conversation import Conversation, Message, TextPart
from llm_gateway.wire.openai_chat.reply_writer import (
    Delta,
    FinishReason,
    FunctionCallDelta,
    ReplyWriter,
    ToolCallDelta,
)
from llm_gateway.wire.openai_chat.request_reader import read_conversation
from llm_gateway.wire.token_counts import stated_usage

__all__ = [
    "Adapter",
    "BadReply",
    "BadRequest",
    "Completion",
    "Conversation",
    "Delta",
    "Deployment",
    "EnabledProvider",
    "FinishReason",
    "FunctionCallDelta",
    "JsonLinesStream",
    "Kind",
    "Message",
    "ModelRequest",
    "OnFirstUse",
    "OpenAIAdapter",
    "ReplyStream",
    "ReplyWriter",
    "Secret",
    "StatedUsage",
    "TextPart",
    "ToolCallDelta",
    "TranslatedStream",
    "UpstreamErrorBody",
    "UpstreamRequest",
    "Usage",
    "check_unsupported",
    "read_conversation",
    "split_data_url",
    "stated_usage",
    "unsupported_field",
]
