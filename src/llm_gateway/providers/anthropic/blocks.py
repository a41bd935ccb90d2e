"""The content blocks of one streamed message. Several may be open at once; their `index` tells them apart."""

from __future__ import annotations

from collections import deque

from llm_gateway.providers.anthropic.decoding import arguments_of, call_of
from llm_gateway.providers.anthropic.thinking import THINKING, detail_of
from llm_gateway.wire.anthropic_messages.messages import Block, BlockIndex, WireDelta
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.reply_writer import Delta, FunctionCallDelta, ToolCallDelta
from llm_gateway.wire.raw_json import JsonObject


class _OpenBlock:
    """A block that has begun, with its place in the message."""

    __slots__ = (
        "after_calls", "after_text", "block", "end", "has_arguments", "held", "index", "is_complete", "number",
        "preceding", "queue", "signature", "thoughts",
    )  # fmt: skip

    def __init__(self, index: BlockIndex, block: Block, queue: deque[_OpenBlock] | None) -> None:
        self.index = index
        self.block = block
        # The blocks of its sort that are not complete, in order; None for blocks that need no order.
        self.queue = queue
        # Pieces that wait for the end of an earlier block.
        self.held: list[str] = []
        self.is_complete = False
        # Of a tool call.
        self.number = 0
        self.has_arguments = False
        # Of a text that was passed on: the position of its end in the message's text.
        self.end: int | None = None
        # Of thinking: its pieces, and what came before it. `preceding` is the last text that was open then.
        self.thoughts: list[str] = []
        self.signature: list[str] = []
        self.after_text = self.after_calls = 0
        self.preceding: _OpenBlock | None = None


class OpenBlocks:
    """Turns the pieces of blocks into OpenAI's deltas.

    A chat completion has one text and one reasoning. So blocks of either sort are passed on one after another: pieces
    of a later one are held until the earlier one is complete. Tool calls have numbers and need no order.
    """

    def __init__(self, *, limit: int) -> None:
        """`limit` is the most characters of thinking and of held text in a message; more is a BadReply."""
        self.characters = 0
        self.calls = 0
        self._limit = limit
        self._kept = 0
        self._details = 0
        self._open: dict[BlockIndex, _OpenBlock] = {}
        self._texts: deque[_OpenBlock] = deque()
        self._thinking: deque[_OpenBlock] = deque()

    def begin(self, index: BlockIndex, block: Block, model: str) -> list[Delta]:
        """Open a block; an open block of the same index is complete then."""
        before = self._complete(self._open[index], model) if index in self._open else []
        if block.type == "tool_use":
            return [*before, self._begin_call(index, block)]
        if block.type in THINKING:
            one = _OpenBlock(index, block, self._thinking)
            one.after_text, one.after_calls = self.characters, self.calls
            one.preceding = self._texts[-1] if self._texts else None
            self._thinking.append(one)
        else:
            one = _OpenBlock(index, block, self._texts)
            self._texts.append(one)
        self._open[index] = one
        return before + self._add(one, WireDelta(None, block.text, block.thinking, block.signature))

    def extend(self, index: BlockIndex, delta: WireDelta) -> list[Delta]:
        """Add a piece to a block; text that belongs to no block is passed on as it is."""
        one = self._find(index)
        if one is None and delta.partial_json:
            message = "arguments in the provider's stream belong to no tool call"
            raise BadReply(message)
        return self._add(one or _OpenBlock(index, Block(), None), delta)

    def end(self, index: BlockIndex, model: str) -> list[Delta]:
        """Complete a block."""
        one = self._find(index)
        return [] if one is None else self._complete(one, model)

    def end_all(self, model: str) -> list[Delta]:
        """Complete all blocks that are still open."""
        return [delta for one in tuple(self._open.values()) for delta in self._complete(one, model)]

    def _begin_call(self, index: BlockIndex, block: Block) -> Delta:
        one = self._open[index] = _OpenBlock(index, block, None)
        one.number, self.calls = self.calls, self.calls + 1
        return Delta(tool_calls=[call_of(block, one.number, "")])

    def _find(self, index: BlockIndex) -> _OpenBlock | None:
        """Return the block of an index; for a missing or wrong index, the only open block."""
        one = self._open.get(index)
        if one is None and len(self._open) == 1:
            (one,) = self._open.values()
        return one

    def _add(self, one: _OpenBlock, delta: WireDelta) -> list[Delta]:
        out = []
        if delta.text:
            out += self._text(one, delta.text)
        if delta.thinking:
            out += self._thought(one, delta.thinking)
        if delta.signature:
            self._keep(delta.signature)
            one.signature.append(delta.signature)
        if delta.partial_json and one.block.type == "tool_use":
            one.has_arguments = True
            out.append(_arguments(one, delta.partial_json))
        return out

    def _text(self, one: _OpenBlock, text: str) -> list[Delta]:
        if one.queue is self._texts and self._texts[0] is not one:
            self._keep(text)
            one.held.append(text)
            return []
        self.characters += len(text)
        return [Delta(content=text)]

    def _thought(self, one: _OpenBlock, text: str) -> list[Delta]:
        self._keep(text)
        one.thoughts.append(text)
        if one.queue is self._thinking and self._thinking[0] is not one:
            one.held.append(text)
            return []
        return [Delta(reasoning_content=text)]

    def _keep(self, text: str) -> None:
        self._kept += len(text)
        if self._kept > self._limit:
            message = "the thinking in the provider's stream is too long"
            raise BadReply(message)

    def _complete(self, one: _OpenBlock, model: str) -> list[Delta]:
        del self._open[one.index]
        one.is_complete = True
        if one.block.type == "tool_use":
            # A call without arguments may have no `input_json_delta`.
            return [] if one.has_arguments else [_arguments(one, arguments_of(one.block))]
        return self._release_texts() + self._release_thinking(model)

    def _release_texts(self) -> list[Delta]:
        """Leave complete texts behind, and pass on what the next one holds."""
        out = []
        while self._texts and self._texts[0].is_complete:
            self._texts.popleft().end = self.characters
            if self._texts and (held := "".join(self._texts[0].held)):
                self._texts[0].held.clear()
                self.characters += len(held)
                out.append(Delta(content=held))
        return out

    def _release_thinking(self, model: str) -> list[Delta]:
        """Pass on the details of complete thinking whose place in the text is known, and what the next one holds."""
        out = []
        while self._thinking and (one := self._thinking[0]).is_complete:
            after_text = one.after_text if one.preceding is None else one.preceding.end
            if after_text is None:
                break
            out.append(Delta(reasoning_details=[self._detail(one, model, after_text)]))
            self._thinking.popleft()
            if self._thinking and (held := "".join(self._thinking[0].held)):
                self._thinking[0].held.clear()
                out.append(Delta(reasoning_content=held))
        return out

    def _detail(self, one: _OpenBlock, model: str, after_text: int) -> JsonObject:
        block, index = one.block, self._details
        self._details += 1
        block.thinking, block.signature = "".join(one.thoughts), "".join(one.signature) or None
        return detail_of(block, model, index=index, after_text=after_text, after_calls=one.after_calls)


def _arguments(one: _OpenBlock, text: str) -> Delta:
    return Delta(tool_calls=[ToolCallDelta(index=one.number, function=FunctionCallDelta(arguments=text))])
