"""Reads OpenAI's event stream while relaying it unchanged: detects content, usage, errors and the end."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Final

import msgspec

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.sse import EventSplitter, EventTooLarge, event_data, event_end, is_noise
from llm_gateway.providers.base import NO_TAIL, QuietReader, StreamSample, UpstreamErrorBody
from llm_gateway.providers.openai.chunks import (
    Chunk,
    chunk_from,
    decode_billed_chunk,
    decode_chunk,
    has_content,
    has_text,
    own_usage,
)
from llm_gateway.providers.openai.errors import NOT_JSON, error_body_from
from llm_gateway.providers.openai.failures import NO_ANSWER, error_in, failed_choice
from llm_gateway.providers.openai.quiet_run import quiet_end
from llm_gateway.providers.openai.usual_event import (
    CONTENT,
    DONE,
    EMPTY,
    FINISH,
    KIND_BITS,
    KIND_MASK,
    LINE,
    USAGE,
    usual_end,
    usual_event,
)
from llm_gateway.wire.errors import BadReply, OversizedEvent
from llm_gateway.wire.loose_json import read_json
from llm_gateway.wire.openai_chat.reply_forms import as_chunks, has_message
from llm_gateway.wire.openai_chat.usage import usage_from_wire
from llm_gateway.wire.stated_costs import CostReader
from llm_gateway.wire.stated_details import SERVICE_TIER
from llm_gateway.wire.token_counts import updated

# In a JSON string quotes are escaped, so these quoted names are keys (or, rarely, whole values). An event without
# any of them is plain content and is relayed without being parsed.
_WORTH_A_LOOK = (
    b'finish_reason":"', b'"usage":{', b'"error"', b"[DONE]", b"event:", b'finish_reason": "', b'"usage": {',
)  # fmt: skip
_FINISH_REASON = b'"finish_reason"'
# How the last event of most streams ends.
_DONE_END = b"[DONE]\n\n"
_SAMPLE_BYTES = 256 * 1024
_NO_CHOICES: Final[frozenset[int]] = frozenset()

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_EVENT_NAME = re.compile(rb"(?:^|[\r\n])event: ?([^\r\n]*)")


class OpenAIReplyStream(QuietReader):
    """One streamed reply; ReplyStream documents the attributes."""

    json_lines = False

    __slots__ = (
        "_asked",
        "_choices",
        "_event_limit",
        "_finished_choices",
        "_hide_usage",
        "_quiet_tail",
        "_read_cost",
        "_sample",
        "_sampled_bytes",
        "_splitter",
        "_total_bytes",
        "_usual_spacing",
        "content_seen",
        "done",
        "finished",
        "refusal",
        "usage",
    )  # fmt: skip

    tail = NO_TAIL

    def __init__(
        self,
        *,
        choices: int,
        hide_usage: bool,
        event_limit: int,
        read_cost: CostReader | None = None,
        asked: Container[str] = (),
    ) -> None:
        """`choices`: number of expected finish reasons; `hide_usage`: drop the usage chunk.

        `read_cost` reads what the provider states that the request cost; `asked` are the fields of the request.
        """
        self._read_cost = read_cost
        self._asked = asked
        self._choices = choices
        self._hide_usage = hide_usage
        self._event_limit = event_limit
        # Most streams come in whole events.
        self._splitter: EventSplitter | None = None
        self._finished_choices: frozenset[int] = _NO_CHOICES
        self._quiet_tail = b""
        # Blocks of events, and events that are taken out of their frames when they are needed.
        self._sample: list[bytes | Iterator[bytes]] = []
        self._sampled_bytes = self._total_bytes = 0
        self._usual_spacing = self.content_seen = self.done = self.finished = False
        self.refusal: UpstreamErrorBody | None = None
        self.usage: Usage | StatedUsage | None = None

    def feed(self, data: bytes) -> bytes:
        block = data if self._splitter is None and data[-2:] == b"\n\n" else self._whole_events(data)
        if not block:
            return b""
        may_be_plain, position, end = False, 0, None
        if self.content_seen:
            if block[-8:] == _DONE_END:
                end = self._usual_end(block, 0)
            if end is None and self.usage is None:
                # Nearly always all of it is quiet.
                position = quiet_end(block, 0, self._quiet_tail)
                may_be_plain = self._usual_spacing
        if end is None and position != len(block):
            position, found = self._behind_usual(block, position)
            if position != len(block) and not (
                may_be_plain and found & KIND_MASK <= LINE and _looks_plain(block)
            ):
                if found & KIND_MASK == USAGE:
                    end = self._usual_end(block, position)
                if end is None:
                    block = self._look(block, position, found)
        if end is not None:
            block = block[:end]
        self._record(block)
        return block

    def end(self) -> bytes:
        if self._splitter is None:
            return b""
        rest = self._splitter.rest()
        # Half an event would reach the client as broken JSON; it gets an error event instead.
        return self.feed(rest + b"\n\n") if rest.strip() and _is_whole(rest) else b""

    def plain_event_end(self) -> bytes:
        splitter = self._splitter
        return self._quiet_tail if self.usage is None and (splitter is None or not splitter.held) else b""

    def note_plain(self, events: Iterator[bytes], size: int) -> None:
        if (sampled := self._sampled_bytes + size) <= _SAMPLE_BYTES:
            self._sampled_bytes = sampled
            self._total_bytes += size
            self._sample.append(events)
        else:
            for event in events:
                self._record(event)

    def sample(self) -> StreamSample:
        blocks: list[bytes] = []
        for block in self._sample:
            if isinstance(block, bytes):
                blocks.append(block)
            else:
                blocks += block
        self._sample = [*blocks]
        return StreamSample(tuple(blocks), self._sampled_bytes, self._total_bytes)

    def _whole_events(self, data: bytes) -> bytes:
        """Return the events that are complete now; hold the rest back."""
        splitter = self._splitter
        if splitter is None:
            splitter = self._splitter = EventSplitter(self._event_limit)
        try:
            return splitter.feed(data)
        except EventTooLarge as large:
            raise OversizedEvent(str(large)) from None

    def _record(self, block: bytes) -> None:
        size = len(block)
        self._total_bytes += size
        if (sampled := self._sampled_bytes + size) <= _SAMPLE_BYTES:
            self._sampled_bytes = sampled
            self._sample.append(block)

    def _learn(self, event: bytes) -> None:
        """Remember how the first content event ends: an event with the same end has no finish reason and no usage.

        If the provider uses unusual spacing or line ends, every event is parsed.
        """
        if event[-2:] != b"\n\n":
            return
        start = event.rfind(_FINISH_REASON)
        if start < 0:
            self._usual_spacing = event.find(b'"choices":[') >= 0 or event.find(b'"choices": [') >= 0
            return
        tail = event[start:]
        # Some servers send "" or "null" until a choice is finished; every event has the mark of a finish reason then.
        self._usual_spacing = tail[15:20] == b":null" or tail[15:21] == b": null"
        if tail[15:16] == b":" and tail.find(b'"delta"') < 0:
            self._quiet_tail = tail

    def _behind_usual(self, block: bytes, position: int) -> tuple[int, int]:
        """Read the usual chunks from `position` on, and what is quiet behind the first content.

        Return where they end, and what `usual_event` says of what follows. All of them are relayed as they came.
        """
        size, found = len(block), 0
        while position != size:
            found = usual_event(block, position)
            kind = found & KIND_MASK
            # A chunk that follows a usage may make it out of date.
            if kind < EMPTY or self.usage is not None:
                break
            start, position = position, found >> KIND_BITS
            if kind == FINISH:
                self.content_seen = True
                self._finish(0)
            elif kind == CONTENT and not self.content_seen:
                self.content_seen = True
                self._learn(block[start:position])
                if position != size:
                    position = quiet_end(block, position, self._quiet_tail)
        return position, found

    def _usual_end(self, block: bytes, position: int) -> int | None:
        """Read from `position` on what usually ends a stream; return where that ends which is relayed.

        None: it is something else, and nothing was done.
        """
        if self._read_cost is not None or SERVICE_TIER in self._asked:
            return None
        found = usual_end(block, position)
        if found is None:
            return None
        is_finished, usage_at, end, is_done, counts = found
        # What follows a usage may make it out of date, and a stream without content is a failure.
        if (self.usage is not None and end != position) or (is_done and not self.content_seen):
            return None
        if is_finished:
            self._finish(0)
        if counts is not None:
            self.usage = Usage(*counts)
        self.done = is_done
        return usage_at if self._hide_usage else end

    def _look(self, block: bytes, position: int, found: int) -> bytes:
        """Read `block` event by event from `position` on; return what to relay of all of it.

        `found` is what `usual_event` says of the first event.
        """
        relayed: list[bytes] = []
        # What is relayed as it came is cut out in one piece, from `begin` on: nearly all of a block is.
        begin = 0
        has_returns: bool | None = None
        while position < len(block):
            start, position, kind = position, found >> KIND_BITS, found & KIND_MASK
            if not kind:
                if has_returns is None:
                    has_returns = block.find(b"\r", start) >= 0
                position = event_end(block, start, has_returns=has_returns)
            event = block[start:position]
            # What has a kind is one line.
            data = event[6:-2] if kind else event_data(event)
            if kind == DONE or (not kind and data is not None and data.strip() == b"[DONE]"):
                self._end()
                position = start
                break
            had_content = self.content_seen
            out = self._read_chunk(data, event) if kind and data else self._read(data, event)
            if out is not event:
                if begin < start:
                    relayed.append(block[begin:start])
                if out:
                    relayed.append(out)
                begin = position
            if self.refusal is not None:
                break
            if self.content_seen and not had_content and self.usage is None:
                position = quiet_end(block, position, self._quiet_tail)
            position, found = self._behind_usual(block, position)
        if begin < position:
            relayed.append(block[begin:position])
        return b"".join(relayed)

    def _finish(self, choice: int) -> None:
        if self._choices > 1:
            self._finished_choices |= {choice}
            self.finished = len(self._finished_choices) >= self._choices
        else:
            self.finished = True

    def _end(self) -> None:
        if self.content_seen:
            self.done = True
        else:
            self.refusal = NO_ANSWER

    def _read(self, data: bytes | None, event: bytes) -> bytes:
        """Read one event with its data, if any; return what to relay: usually the event, b"" if nothing."""
        if data is None:
            # A comment is left out: one SDK takes it for an error.
            if not event.lstrip().startswith(b"{"):
                return b""
            # Some servers write a bare error, or a bare chunk, into a stream.
            data = b" ".join(event.strip().splitlines())
            relayed = self._read_chunk(data, b"data: " + data + b"\n\n")
            # Others that end like it may be bare, too, and are not to pass as they come.
            self._quiet_tail, self._usual_spacing = b"", False
            return relayed
        is_error = _is_error_event(event)
        # Clients would read the data of a heartbeat as JSON.
        return self._read_chunk(data, event, is_error=is_error) if is_error or data.strip() else b""

    def _read_chunk(self, data: bytes, event: bytes, *, is_error: bool = False) -> bytes:
        try:
            chunk = decode_chunk(data) if self._read_cost is None else decode_billed_chunk(data)
            is_usual = chunk.choices is not None and not is_error
        except _UNREADABLE:
            chunk, is_usual = Chunk(), False
        return self._take(chunk, event) if is_usual else self._read_unusual(data, event, is_error=is_error)

    def _read_unusual(self, data: bytes, event: bytes, *, is_error: bool) -> bytes:
        """Read an event that is an error, another form of a reply, or a chunk of an unknown shape."""
        try:
            value = read_json(data)
        except BadReply:
            if is_noise(data) and not is_error:
                return b""
            if not self.content_seen:
                message = "an event of the provider's stream is not JSON"
                raise BadReply(message) from None
            self.refusal = NOT_JSON
            return b""
        self.refusal = error_body_from(value) if is_error else error_in(value) or failed_choice(value)
        if self.refusal is not None:
            return b""
        if has_message(value):
            return self._look(as_chunks(value, is_chat=True), 0, 0)
        return self._take(chunk_from(value, has_cost=self._read_cost is not None), event)

    def _take(self, chunk: Chunk, event: bytes) -> bytes:
        choices = chunk.choices
        wire = chunk.usage or own_usage(chunk)
        # Most chunks state none.
        stated = (
            None if wire is None else usage_from_wire(wire, chunk.service_tier, self._read_cost, self._asked)
        )
        if self.usage is None:
            self.usage = stated
        else:
            self.usage = updated(self.usage, stated, has_content=any(map(has_text, choices or ())))
        if not choices:
            return b"" if self._hide_usage and chunk.usage is not None else event
        if not self.content_seen and any(map(has_content, choices)):
            self.content_seen = True
            if chunk.usage is None and len(choices) == 1 and choices[0].finish_reason is None:
                self._learn(event)
        for choice in choices:
            if choice.finish_reason is not None:
                self._finish(choice.index)
        return event


def _looks_plain(block: bytes) -> bool:
    """Tell, without parsing, whether every event is a chunk with complete JSON that is not worth a look."""
    events = block.count(b"\n\n")
    if not 0 < events == block.count(b"}\n\n") == block.count(b'"choices":'):
        return False
    # No generator: to end one early costs more than all that it does.
    for mark in _WORTH_A_LOOK:  # noqa: SIM110
        if block.find(mark) >= 0:
            return False
    return True


def _is_whole(event: bytes) -> bool:
    data = event_data(event + b"\n\n")
    if data is None or data.strip() == b"[DONE]":
        return True
    try:
        read_json(data)
    except BadReply:
        return False
    return True


def _is_error_event(event: bytes) -> bool:
    if event.find(b"event:") < 0:
        return False
    name = _EVENT_NAME.search(event)
    return name is not None and name[1].strip().startswith(b"error")
