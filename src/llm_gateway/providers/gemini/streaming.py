"""Translates Gemini's streams, in which each event is a reply with the next pieces, into OpenAI chunks."""

from __future__ import annotations

import msgspec

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.providers.gemini.decoding import (
    MOST_CHOICES,
    CandidateReader,
    generated_id,
    logprobs,
    reason_of,
)
from llm_gateway.providers.gemini.errors import error_body_from
from llm_gateway.providers.gemini.names import FunctionNames
from llm_gateway.providers.translating.stream import TranslatedStream
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.gemini.contents import (
    WireCandidate,
    WirePromptFeedback,
    WireReply,
    is_list,
    read_replies,
)
from llm_gateway.wire.gemini.usage import usage_from_wire
from llm_gateway.wire.openai_chat.reply_writer import Delta
from llm_gateway.wire.raw_json import says_nothing
from llm_gateway.wire.token_counts import updated


class GeminiStream(TranslatedStream):
    """One streamed reply. No event marks the end, so finish reasons and usage are sent when the stream ends."""

    def __init__(self, request: ModelRequest, *, event_limit: int) -> None:
        super().__init__(request, event_limit=event_limit)
        self._is_chat = request.traits.is_chat
        self.writer.model = request.model
        self.writer.reply_id = generated_id(request)
        self._expected = expected_choices(request)
        self._readers: dict[int, CandidateReader] = {}
        self._names = FunctionNames(request)
        self._is_closed = False
        # Whether the latest event had content.
        self._has_new_content = False

    def take(self, data: bytes) -> bytes:
        """Translate one event: a reply with the next pieces, or an error."""
        return self._take_replies(read_replies(data), data)

    def take_whole(self, body: bytes) -> bytes:
        """Translate a JSON body: one unary reply, or the list of events that Google sends without `alt=sse`."""
        replies = read_replies(body)
        if not is_list(body):
            # As in a unary reply, a missing finish reason means a normal end.
            for candidate in replies[0].candidates or ():
                has_parts = candidate.content is not None and bool(candidate.content.parts)
                if has_parts and reason_of(candidate.finish_reason) is None:
                    candidate.finish_reason = "STOP"
        events = self._take_replies(replies, body) + self._last_events()
        if self.refusal is None and not self.finished:
            message = "the provider answered a streamed request with JSON that is not a complete answer"
            raise BadReply(message)
        return events

    def _take_replies(self, replies: list[WireReply], data: bytes) -> bytes:
        chunks = []
        for reply in replies:
            if not says_nothing(reply.error):
                self.refusal = error_body_from(data)
                break
            chunks.append(self._take_reply(reply))
        return b"".join(chunks)

    def _take_reply(self, reply: WireReply) -> bytes:
        if not self._readers:
            self.writer.reply_id = reply.response_id or self.writer.reply_id
            self.writer.model = reply.model_version or self.writer.model
        self._has_new_content = False
        chunks = [self._piece(candidate) for candidate in reply.candidates or ()]
        feedback = reply.prompt_feedback
        if feedback is not None and reason_of(feedback.block_reason) is not None and not self._readers:
            chunks = [self._blocked(index, feedback) for index in range(self._expected)]
        self._update_finished(reply)
        return b"".join(chunks)

    def take_done(self) -> bytes:
        """Handle OpenAI's end marker, which some servers send: the end, if every candidate is complete."""
        last = self._last_events()
        self.done = self.finished
        return last

    def end(self) -> bytes:
        """Handle the clean end of the stream: return finish reasons and usage if every candidate is complete."""
        return super().end() + self._record(self._last_events())

    def _last_events(self) -> bytes:
        """Return the last events, once; b"" if a candidate is incomplete."""
        if self._is_closed or not self._readers or not self.finished or self.refusal is not None:
            return b""
        self._is_closed = True
        last = [
            self.writer.chunk(_last_delta(reader), reader.finish_reason, index=index)
            for index, reader in sorted(self._readers.items())
        ]
        return b"".join(last) + self.writer.usage(self.usage)

    def _piece(self, candidate: WireCandidate) -> bytes:
        is_new = candidate.index not in self._readers
        reader = self._reader(candidate.index)
        delta = reader.take(candidate)
        likelihoods = logprobs(candidate.logprobs_result) if self._is_chat else None
        if delta != Delta():
            self._has_new_content = True
        if delta != Delta() or reader.reason is not None:
            self.content_seen = True
        if is_new:
            delta.role = "assistant"
        if delta == Delta() and likelihoods is None:
            return b""
        return self.writer.chunk(delta, index=candidate.index, logprobs=likelihoods)

    def _blocked(self, index: int, feedback: WirePromptFeedback) -> bytes:
        self._reader(index).block(feedback)
        self.content_seen = True
        return self.writer.chunk(Delta(role="assistant"), index=index)

    def _reader(self, index: int) -> CandidateReader:
        reader = self._readers.get(index)
        if reader is None:
            if len(self._readers) >= MOST_CHOICES:
                message = "the provider's stream has too many candidates"
                raise BadReply(message)
            reader = self._readers[index] = CandidateReader(self.writer.reply_id, index, self._names)
        return reader

    def _update_finished(self, reply: WireReply) -> None:
        whole = [reader for reader in self._readers.values() if reader.reason is not None]
        self.finished = len(whole) >= self._expected
        # Each event's counts are totals; those of early events may leave out the answer.
        stated = usage_from_wire(reply.usage_metadata)
        self.usage = updated(self.usage, stated, has_content=self._has_new_content)
        fault = next((reader.fault for reader in self._readers.values() if reader.fault is not None), None)
        if fault is not None:
            self.refusal = UpstreamErrorBody(message=fault, type="server_error")


def _last_delta(reader: CandidateReader) -> Delta:
    refusal = reader.refusal
    return Delta(refusal=refusal, content=None if reader.has_content or refusal is not None else "")


def expected_choices(request: ModelRequest) -> int:
    """Return `n`, the number of choices that the client asked for; 1 by default."""
    try:
        return int(msgspec.json.decode(request.fields.get("n", b"1"), type=int | None) or 1)
    except msgspec.DecodeError:
        return 1
