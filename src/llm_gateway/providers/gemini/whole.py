"""Translates a unary reply of Gemini's into a completion of OpenAI's."""

from __future__ import annotations

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.base import Completion
from llm_gateway.providers.gemini.decoding import CandidateReader, generated_id, logprobs, usage_from_wire
from llm_gateway.providers.gemini.streaming import expected_choices
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.gemini.contents import WireReply
from llm_gateway.wire.openai_chat.reply_writer import Choice, Delta, ReplyWriter


def complete(reply: WireReply, request: ModelRequest) -> Completion:
    """Return the completion; raise BadReply if the reply holds no usable answer."""
    _check(reply)
    reply_id = reply.response_id or generated_id(request)
    writer = ReplyWriter(request, reply_id=reply_id, model=reply.model_version or request.model)
    is_chat = request.traits.is_chat
    choices = []
    for candidate in sorted(reply.candidates or (), key=lambda candidate: candidate.index):
        reader = CandidateReader(reply_id, candidate.index)
        delta = reader.take(candidate)
        delta.refusal = _checked(reader).refusal
        likelihoods = logprobs(candidate.logprobs_result) if is_chat else None
        choices.append(Choice(delta, reader.finish_reason, likelihoods))
    usage = usage_from_wire(reply.usage_metadata)
    return Completion(body=writer.whole_of(choices or _blocked(reply, request), usage), usage=usage)


def _check(reply: WireReply) -> None:
    if reply.error is not None:
        message = "the provider sent an error with a success status"
        raise BadReply(message)


def _checked(reader: CandidateReader) -> CandidateReader:
    if reader.fault is not None:
        raise BadReply(reader.fault)
    return reader


def _blocked(reply: WireReply, request: ModelRequest) -> list[Choice]:
    """Return the choices for a prompt that the provider blocked."""
    feedback = reply.prompt_feedback
    if feedback is None or feedback.block_reason is None:
        message = "the provider's reply contains no answer"
        raise BadReply(message)
    choices = []
    for index in range(expected_choices(request)):
        reader = CandidateReader("", index)
        reader.block(feedback)
        choices.append(Choice(Delta(refusal=reader.refusal), reader.finish_reason))
    return choices
