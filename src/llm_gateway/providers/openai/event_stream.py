"""Reads OpenAI's event stream on its way through: sees content, usage, errors and the end, changes no byte."""

from __future__ import annotations

import msgspec

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.sse import EventSplitter, EventTooLarge, event_data, split_events
from llm_gateway.providers.base import NO_TAIL, StreamSample, UpstreamErrorBody
from llm_gateway.providers.openai.errors import NOT_JSON, refusal_from
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.usage import WireUsage, usage_from_wire

# Inside a JSON string a quote is escaped, so the quoted names can only be keys (or whole values, rarely). What
# holds none of these is text on its way, and is passed on without being parsed.
_WORTH_A_LOOK = (
    b'finish_reason":"', b'"usage":{', b'"error"', b"[DONE]", b"event:", b'finish_reason": "', b'"usage": {',
)  # fmt: skip
_FINISH_REASON = b'"finish_reason"'
_KEPT_FOR_COUNTING = 256 * 1024


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: dict[str, msgspec.Raw] | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_NOTHING = frozenset({b"null", b'""', b"[]", b"{}"})


class OpenAIReplyStream:
    """One streamed reply; see ReplyStream for what the attributes say."""

    __slots__ = (
        "_choices", "_finished_choices", "_hide_usage", "_kept", "_kept_bytes", "_quiet_tail",
        "_relayed_bytes", "_splitter", "_usual_spacing",
        "content_seen", "done", "finished", "refusal", "usage",
    )  # fmt: skip

    tail = NO_TAIL

    def __init__(self, *, choices: int, hide_usage: bool, event_limit: int) -> None:
        """Expect `choices` finish reasons; drop the usage chunk when it is to be hidden."""
        self._choices = choices
        self._hide_usage = hide_usage
        self._splitter = EventSplitter(event_limit)
        self._finished_choices: set[int] = set()
        self._quiet_tail = b""
        self._usual_spacing = False
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._relayed_bytes = 0
        self.content_seen = False
        self.done = False
        self.finished = False
        self.refusal: UpstreamErrorBody | None = None
        self.usage: Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what goes on to the client of all events that are whole by now."""
        tail = self._quiet_tail
        if (
            tail
            and data.endswith(tail)
            and data.find(b"\n\n") == len(data) - 2
            and self.usage is None
            and not self._splitter.held
        ):
            # One quiet event, by far the most frequent piece.
            self._keep(data)
            return data
        try:
            block = self._splitter.feed(data)
        except EventTooLarge:
            message = "one event of the provider's stream is too large"
            raise BadReply(message) from None
        if not block:
            return b""
        if not (self.content_seen and self._is_quiet(block)):
            block = self._look(block)
        self._keep(block)
        return block

    def end(self) -> bytes:
        """Take the provider's end: return what goes on of a last event that lacks its blank line."""
        rest = self._splitter.rest()
        # Half an event would reach the client as broken JSON: a cut is told by an error event instead.
        return self.feed(rest + b"\n\n") if rest.strip() and _is_whole(rest) else b""

    def kept(self) -> StreamSample:
        """Return what was relayed."""
        return StreamSample(tuple(self._kept), self._kept_bytes, self._relayed_bytes)

    def _keep(self, block: bytes) -> None:
        size = len(block)
        self._relayed_bytes += size
        if self.usage is not None:
            self._kept.clear()
        elif (kept := self._kept_bytes + size) <= _KEPT_FOR_COUNTING:
            self._kept_bytes = kept
            self._kept.append(block)

    def _is_quiet(self, block: bytes) -> bool:
        """Tell, without parsing, that nothing in `block` has to be acted on."""
        tail = self._quiet_tail
        if tail and block.endswith(tail) and block.count(tail) == block.count(b"\n\n"):
            return True
        return (
            self._usual_spacing and _looks_whole(block) and not any(mark in block for mark in _WORTH_A_LOOK)
        )

    def _quiet_start(self, block: bytes) -> int:
        """Return how many bytes at the start of `block` are events to pass on as they are."""
        tail = self._quiet_tail
        end = block.rfind(tail) + len(tail) if tail and tail in block else 0
        return end if block.count(tail, 0, end) == block.count(b"\n\n", 0, end) else 0

    def _learn(self, event: bytes) -> None:
        """Remember how the first content event ends: what ends like it has no finish reason and no usage.

        A provider whose JSON is spaced in a way of its own, or whose lines end in one, has every event parsed.
        """
        start = event.rfind(_FINISH_REASON)
        if not event.endswith(b"\n\n"):
            return
        if start < 0:
            self._usual_spacing = b'"choices":[' in event or b'"choices": [' in event
            return
        self._usual_spacing = event[start + len(_FINISH_REASON) :].startswith((b":null", b": null"))
        if self._usual_spacing and b'"delta"' not in event[start:]:
            self._quiet_tail = event[start:]

    def _look(self, block: bytes) -> bytes:
        """Go through `block` event by event, but for a quiet run once the first content is known."""
        relayed = []
        position = 0
        if self.content_seen:
            position = self._quiet_start(block)
            relayed.append(block[:position])
        for event in split_events(block[position:]):
            position += len(event)
            data = event_data(event)
            if data is None:
                relayed.append(event)
                continue
            if data.strip() == b"[DONE]":
                self.done = True
                break
            had_content = self.content_seen
            if self._relay(data, event):
                relayed.append(event)
            if self.refusal is not None:
                break
            if self.content_seen and not had_content and position < len(block):
                relayed.append(self._look(block[position:]))
                break
        return b"".join(relayed)

    def _relay(self, data: bytes, event: bytes) -> bool:
        """Learn from one event; tell whether the client gets it."""
        try:
            chunk = _decode_chunk(data)
        except (msgspec.ValidationError, UnicodeDecodeError):
            # JSON of a shape of the provider's own: not ours to judge.
            return True
        except (msgspec.DecodeError, RecursionError):
            if not self.content_seen:
                message = "an event of the provider's stream is not JSON"
                raise BadReply(message) from None
            self.refusal = NOT_JSON
            return False
        if bytes(chunk.error) not in _NOTHING or _is_error_event(event):
            self.refusal = refusal_from(msgspec.json.decode(data))
            return False
        if chunk.usage is not None:
            self.usage = usage_from_wire(chunk.usage) or self.usage
        if not self.content_seen:
            self.content_seen = any(_has_content(choice) for choice in chunk.choices or ())
            if self.content_seen and chunk.usage is None and len(chunk.choices or ()) == 1:
                self._learn(event)
        for choice in chunk.choices or ():
            if choice.finish_reason is not None:
                self._finished_choices.add(choice.index)
                self.finished = len(self._finished_choices) >= self._choices
        return not (self._hide_usage and chunk.usage is not None and not chunk.choices)


def _has_content(choice: _Choice) -> bool:
    if choice.text or choice.finish_reason is not None:
        return True
    return any(
        name != "role" and bytes(value) not in _NOTHING for name, value in (choice.delta or {}).items()
    )


def _looks_whole(block: bytes) -> bool:
    """Tell, without parsing, that every event is a chunk whose JSON has its end."""
    events = block.count(b"\n\n")
    return block.count(b"}\n\n") == events == block.count(b'"choices":')


def _is_whole(event: bytes) -> bool:
    data = event_data(event + b"\n\n")
    if data is None or data.strip() == b"[DONE]":
        return True
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _is_error_event(event: bytes) -> bool:
    return event.startswith(b"event:") and event[6:].lstrip().startswith(b"error")
