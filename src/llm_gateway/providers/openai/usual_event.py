"""Recognises the usual chunks of a stream, which need no parser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

try:
    from llm_gateway.providers.openai import _usual_event as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
# Tokens of the prompt, of the completion, and in total; those read from the cache, and those of reasoning.
Counts = tuple[int, int, int, int, int]
# Whether the first choice is finished, where the chunk with the usage stands, where the last chunk ends, whether
# `data: [DONE]` follows, and the counts, if there are any.
UsualEnd = tuple[bool, int, int, bool, Counts | None]
IS_COMPILED: Final = _compiled is not None

# One line of data that is an object, or begins like one: a parser has to tell what it is.
LINE: Final = 1
# The same, and it has `"usage":{` or `"usage": {`.
USAGE: Final = 2
# `data: [DONE]`.
DONE: Final = 3
# These are usual chunks. One has nothing that counts as content, ...
EMPTY: Final = 4
CONTENT: Final = 5
# ... and in one the first choice is finished, with or without content.
FINISH: Final = 6
KIND_BITS: Final = 3
KIND_MASK: Final = (1 << KIND_BITS) - 1


def python_usual_event(block: bytes, start: int, /) -> int:
    """Return `end << KIND_BITS | kind` of the event at `start`; 0 if it is not one of the above.

    A usual chunk is one line of data with one choice, and without a usage, an error or a whole message. It is relayed
    as it came. If in doubt, the compiled way returns LINE. In Python, a parser finds out faster what an event is.
    """
    del block, start
    return 0


def python_usual_end(block: bytes, start: int, /) -> UsualEnd | None:
    """Read the end of a stream; None if a parser has to, as in Python always.

    It is usual chunks, a chunk with a usage, or none, and `data: [DONE]`, which may be missing behind a usage that
    ends the block. The chunk with the usage has no choice, and its counts are plausible, and all that would make a
    `Usage`, in the order of its fields.
    """
    del block, start
    return None


usual_event: Callable[[bytes, int], int] = _compiled.usual_event if IS_COMPILED else python_usual_event
usual_end: Callable[[bytes, int], UsualEnd | None] = _compiled.usual_end if IS_COMPILED else python_usual_end
