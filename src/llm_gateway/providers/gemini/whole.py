"""Translates a unary reply of Gemini's into a completion of OpenAI's."""

from __future__ import annotations

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.base import Completion
from llm_gateway.providers.gemini.decoding import (
    CandidateReader,
    generated_id,
    logprobs,
    reason_of,
)
from llm_gateway.providers.gemini.names import FunctionNames
from llm_gateway.providers.gemini.streaming import expected_choices
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.gemini.contents import WireReply
from llm_gateway.wire.gemini.usage import usage_from_wire
from llm_gateway.wire.openai_chat.reply_writer import Choice, Delta, ReplyWriter, is_empty


def complete(reply: WireReply, request: ModelRequest) -> Completion:
    """Return the completion; raise BadReply if the reply holds no usable answer."""
    reply_id = reply.response_id or generated_id(request)
    writer = ReplyWriter(request, reply_id=reply_id, model=reply.model_version or request.model)
    is_chat = request.traits.is_chat
    names = FunctionNames(request)
    choices = []
    for candidate in sorted(reply.candidates or (), key=lambda candidate: candidate.index):
        reader = CandidateReader(reply_id, candidate.index, names)
        delta = reader.take(candidate)
        if delta == Delta() and reader.reason is None:
            # Neither content nor an end: no answer.
            continue
        delta.refusal = _checked(reader).refusal
        if is_empty(delta):
            delta.content = ""
        likelihoods = logprobs(candidate.logprobs_result) if is_chat else None
        choices.append(Choice(delta, reader.finish_reason, likelihoods))
    usage = usage_from_wire(reply.usage_metadata)
    return Completion(body=writer.whole_of(choices or _blocked(reply, request), usage), usage=usage)


def _checked(reader: CandidateReader) -> CandidateReader:
    if reader.fault is not None:
        raise BadReply(reader.fault)
    return reader


def _blocked(reply: WireReply, request: ModelRequest) -> list[Choice]:
    """Return the choices for a prompt that the provider blocked."""
    feedback = reply.prompt_feedback
    if feedback is None or reason_of(feedback.block_reason) is None:
        message = "the provider's reply contains no answer"
        raise BadReply(message)
    choices = []
    for index in range(expected_choices(request)):
        reader = CandidateReader("", index, FunctionNames(request))
        reader.block(feedback)
        choices.append(Choice(Delta(refusal=reader.refusal), reader.finish_reason))
    return choices
