"""Writes OpenAI's reply from a whole one of Gemini's, as JSON or as the events of a stream."""

from __future__ import annotations

from llm_gateway.core.chat import ChatRequest
from llm_gateway.core.records import Usage
from llm_gateway.providers.base import BadReply, Completion
from llm_gateway.providers.gemini.decoding import CandidateReader, logprobs, made_up_id, usage_from_wire
from llm_gateway.providers.gemini.streaming import GeminiStream, expected_choices
from llm_gateway.providers.gemini.wire import WireReply, is_list, read_replies
from llm_gateway.providers.translating.writing import Choice, ReplyWriter, Said

_ANY_SIZE = 1 << 62


def complete(reply: WireReply, request: ChatRequest) -> Completion:
    """Return a unary reply; raise BadReply for one without an answer."""
    _check(reply)
    reply_id = reply.response_id or made_up_id(request)
    writer = ReplyWriter(request, reply_id=reply_id, model=reply.model_version or request.model)
    is_chat = request.endpoint == "chat/completions"
    choices = []
    for candidate in sorted(reply.candidates or (), key=lambda candidate: candidate.index):
        reader = CandidateReader(reply_id, candidate.index)
        said = reader.take(candidate)
        said.refusal = _sound(reader).refusal
        likelihoods = logprobs(candidate.logprobs_result) if is_chat else None
        choices.append(Choice(said, reader.finish_reason, likelihoods))
    usage = usage_from_wire(reply.usage_metadata)
    return Completion(body=writer.whole_of(choices or _blocked(reply, request), usage), usage=usage)


def events_of(body: bytes, request: ChatRequest) -> tuple[bytes, Usage | None]:
    """Return the events of a whole reply, or of the list of replies that a stream is without `alt=sse`.

    Raise BadReply as for a whole reply, and for a list that ends before the answer does.
    """
    replies = read_replies(body)
    stream = GeminiStream(request, event_limit=_ANY_SIZE)
    events = []
    for reply in replies:
        _check(reply)
        if not is_list(body):
            for candidate in reply.candidates or ():
                candidate.finish_reason = candidate.finish_reason or "STOP"
        events.append(stream.take_reply(reply))
    if stream.refusal is not None or not stream.finished:
        message = "the provider answered a streamed request with JSON that is no whole answer"
        raise BadReply(message)
    return b"".join(events) + stream.close(), stream.usage


def _check(reply: WireReply) -> None:
    if reply.error is not None:
        message = "the provider answered with an error and a status of success"
        raise BadReply(message)


def _sound(reader: CandidateReader) -> CandidateReader:
    if reader.fault is not None:
        raise BadReply(reader.fault)
    return reader


def _blocked(reply: WireReply, request: ChatRequest) -> list[Choice]:
    """Return the choices for a prompt that was refused."""
    feedback = reply.prompt_feedback
    if feedback is None or feedback.block_reason is None:
        message = "the provider's reply holds no answer"
        raise BadReply(message)
    choices = []
    for index in range(expected_choices(request)):
        reader = CandidateReader("", index)
        reader.block(feedback)
        choices.append(Choice(Said(refusal=reader.refusal), reader.finish_reason))
    return choices
