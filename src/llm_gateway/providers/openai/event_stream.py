"""Reads OpenAI's event stream while relaying it unchanged: detects content, usage, errors and the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator

import msgspec

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.sse import EventSplitter, EventTooLarge, event_data, is_noise, split_events
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
from llm_gateway.wire.errors import BadReply, OversizedEvent
from llm_gateway.wire.loose_json import read_json
from llm_gateway.wire.openai_chat.reply_forms import as_chunks, has_message
from llm_gateway.wire.openai_chat.usage import usage_from_wire
from llm_gateway.wire.stated_costs import CostReader
from llm_gateway.wire.token_counts import updated

# In a JSON string quotes are escaped, so these quoted names are keys (or, rarely, whole values). An event without
# any of them is plain content and is relayed without being parsed.
_WORTH_A_LOOK = (
    b'finish_reason":"', b'"usage":{', b'"error"', b"[DONE]", b"event:", b'finish_reason": "', b'"usage": {',
)  # fmt: skip
_FINISH_REASON = b'"finish_reason"'
_SAMPLE_BYTES = 256 * 1024


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_EVENT_NAME = re.compile(rb"(?:^|[\r\n])event: ?([^\r\n]*)")


class OpenAIReplyStream(QuietReader):
    """One streamed reply; ReplyStream documents the attributes."""

    json_lines = False

    __slots__ = (
        "_asked",
        "_choices",
        "_decode",
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
        self._decode: Callable[[bytes], Chunk] = decode_chunk if read_cost is None else decode_billed_chunk
        self._choices = choices
        self._hide_usage = hide_usage
        self._splitter = EventSplitter(event_limit)
        self._finished_choices: set[int] = set()
        self._quiet_tail = b""
        self._usual_spacing = False
        # Blocks of events, and events that are taken out of their frames when they are needed.
        self._sample: list[bytes | Iterator[bytes]] = []
        self._sampled_bytes = 0
        self._total_bytes = 0
        self.content_seen = False
        self.done = False
        self.finished = False
        self.refusal: UpstreamErrorBody | None = None
        self.usage: Usage | StatedUsage | None = None

    def feed(self, data: bytes) -> bytes:
        tail = self._quiet_tail
        if (
            tail
            and data.endswith(tail)
            and data.find(b"\n\n") == len(data) - 2
            and data.find(b"\r") < 0
            and self.usage is None
            and not self._splitter.held
        ):
            # One quiet event: by far the most frequent case.
            self._record(data)
            return data
        try:
            block = self._splitter.feed(data)
        except EventTooLarge as large:
            raise OversizedEvent(str(large)) from None
        if not block:
            return b""
        if not (self.content_seen and self.usage is None and self._is_quiet(block)):
            block = self._look(block)
        self._record(block)
        return block

    def end(self) -> bytes:
        rest = self._splitter.rest()
        # Half an event would reach the client as broken JSON; it gets an error event instead.
        return self.feed(rest + b"\n\n") if rest.strip() and _is_whole(rest) else b""

    def plain_event_end(self) -> bytes:
        return self._quiet_tail if self.usage is None and not self._splitter.held else b""

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

    def _record(self, block: bytes) -> None:
        size = len(block)
        self._total_bytes += size
        if (sampled := self._sampled_bytes + size) <= _SAMPLE_BYTES:
            self._sampled_bytes = sampled
            self._sample.append(block)

    def _is_quiet(self, block: bytes) -> bool:
        """Tell, without parsing, whether `block` can be relayed without a closer look."""
        return quiet_end(block, 0, self._quiet_tail) == len(block) or (
            self._usual_spacing and _looks_whole(block) and not any(mark in block for mark in _WORTH_A_LOOK)
        )

    def _learn(self, event: bytes) -> None:
        """Remember how the first content event ends: an event with the same end has no finish reason and no usage.

        If the provider uses unusual spacing or line ends, every event is parsed.
        """
        start = event.rfind(_FINISH_REASON)
        if not event.endswith(b"\n\n"):
            return
        if start < 0:
            self._usual_spacing = b'"choices":[' in event or b'"choices": [' in event
            return
        value = event[start + len(_FINISH_REASON) :]
        self._usual_spacing = value.startswith((b":null", b": null"))
        # Some servers send "" or "null" until a choice is finished; every event has the mark of a finish reason then.
        if value.startswith((b":", b": ")) and b'"delta"' not in value:
            self._quiet_tail = event[start:]

    def _look(self, block: bytes) -> bytes:
        """Read `block` event by event; skip runs of quiet events, at its start and behind the first content."""
        relayed: list[bytes] = []
        # What is relayed as it came, from `begin` to `end`, is cut out in one piece: nearly all of a block is.
        begin = 0
        end = position = self._behind_quiet(block, 0)
        events = split_events(block, position)
        while (event := next(events, None)) is not None:
            start, position = position, position + len(event)
            data, out, is_first = event_data(event), b"", False
            if data is None:
                # A comment is left out: one SDK takes it for an error.
                if event.lstrip().startswith(b"{"):
                    # Some servers write a bare error, or a bare chunk, into a stream.
                    data = b" ".join(event.strip().splitlines())
                    out = self._read(data, b"data: " + data + b"\n\n")
            elif data.strip() == b"[DONE]":
                self._end()
                break
            else:
                had_content = self.content_seen
                out = self._read(data, event)
                is_first = self.content_seen and not had_content and position < len(block)
            if out:
                if start != end or out is not event:
                    relayed.append(block[begin:end])
                    begin = start
                if out is not event:
                    relayed.append(out)
                    begin = position
                end = position
            if is_first:
                if end != position:
                    relayed.append(block[begin:end])
                    begin = position
                end = position = self._behind_quiet(block, position)
                events = split_events(block, position)
            elif self.refusal is not None:
                break
        rest = block[begin:end]
        return b"".join((*relayed, rest)) if relayed else rest

    def _behind_quiet(self, block: bytes, start: int) -> int:
        """Return where the quiet events end that begin at `start`."""
        if not self.content_seen or self.usage is not None:
            return start
        return quiet_end(block, start, self._quiet_tail)

    def _note_usage(self, chunk: Chunk) -> None:
        wire = chunk.usage or own_usage(chunk)
        # Most chunks state none.
        stated = (
            None if wire is None else usage_from_wire(wire, chunk.service_tier, self._read_cost, self._asked)
        )
        if self.usage is None:
            self.usage = stated
        else:
            has_new_text = any(map(has_text, chunk.choices or ()))
            self.usage = updated(self.usage, stated, has_content=has_new_text)

    def _end(self) -> None:
        if self.content_seen:
            self.done = True
        else:
            self.refusal = NO_ANSWER

    def _read(self, data: bytes, event: bytes) -> bytes:
        """Read one event; return what to relay: usually the event, b"" if nothing."""
        is_error = b"event:" in event and _is_error_event(event)
        if not (is_error or data.strip()):
            # A heartbeat. Clients would read its data as JSON.
            return b""
        try:
            chunk = self._decode(data)
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
            return self._look(as_chunks(value, is_chat=True))
        return self._take(chunk_from(value, has_cost=self._read_cost is not None), event)

    def _take(self, chunk: Chunk, event: bytes) -> bytes:
        self._note_usage(chunk)
        choices = chunk.choices or ()
        if not self.content_seen:
            self.content_seen = any(map(has_content, choices))
            if (
                self.content_seen
                and chunk.usage is None
                and len(choices) == 1
                and choices[0].finish_reason is None
            ):
                self._learn(event)
        for choice in choices:
            if choice.finish_reason is not None:
                self._finished_choices.add(choice.index)
                self.finished = len(self._finished_choices) >= self._choices
        is_hidden = self._hide_usage and chunk.usage is not None and not chunk.choices
        return b"" if is_hidden else event


def _looks_whole(block: bytes) -> bool:
    """Tell, without parsing, whether every event is a chunk with complete JSON."""
    events = block.count(b"\n\n")
    return 0 < events == block.count(b"}\n\n") == block.count(b'"choices":')


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
    name = _EVENT_NAME.search(event)
    return name is not None and name[1].strip().startswith(b"error")
