"""Bounds of request bodies: values, top-level fields and nesting."""

from __future__ import annotations

import re

from llm_gateway.core.errors import BadRequest
from llm_gateway.flow.heavy_work import LARGE_BODY

# The start of a string, an object or an array, outside strings.
_START = re.compile(rb'["{\[]')
# The inside of a string, up to its closing quote. Takes linear time: the quantifiers are possessive.
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE = ord('"')
# Bytes searched in one call, during which no other thread can run.
_WINDOW = 1 << 20


def check_body_bounds(body: bytes, max_values: int) -> None:
    """Raise BadRequest when `body` contains more than `max_values` names, strings, objects and arrays in total.

    Numbers, booleans and nulls do not count: embeddings take long arrays of token numbers. A body smaller than
    LARGE_BODY is not counted. Takes linear time and at most one copy of the body in memory.
    """
    if len(body) < LARGE_BODY:
        return
    # A fast upper bound that suffices for nearly every body; strings may contain these characters, too.
    if len(body) - len(body.translate(None, b'{["')) <= max_values:
        return
    if _has_more(body, max_values):
        message = (
            f"The request body contains more than {max_values} JSON names, strings, objects and arrays "
            "(MAX_BODY_VALUES). Send less in one request."
        )
        raise BadRequest(message, code="request_too_complex")


def _has_more(body: bytes, most: int) -> bool:
    seen = at = 0
    in_text = False
    while at < len(body):
        end = at + _WINDOW
        if in_text:
            match = _INSIDE.match(body, at, end)
            at = at if match is None else match.end()
            if at >= len(body) - 1:
                # Unterminated, or nothing follows.
                return False
            # Otherwise the window ended, perhaps before the second half of an escape.
            if body[at] == _QUOTE:
                in_text = False
                at += 1
        elif (start := _START.search(body, at, end)) is None:
            at = end
        else:
            seen += 1
            if seen > most:
                return True
            at = start.end()
            in_text = body[at - 1] == _QUOTE
    return False


def too_many_fields(max_fields: int) -> BadRequest:
    """Return the error for a body with more than `max_fields` top-level fields."""
    message = f"The request body has more than {max_fields} top-level fields (MAX_BODY_FIELDS)."
    return BadRequest(message, code="request_too_complex")


def nested_too_deeply() -> BadRequest:
    """Return the error for a body that is nested more deeply than can be translated: some hundreds of levels."""
    message = "The request body is nested too deeply; a few hundred levels are the most that can be handled."
    return BadRequest(message, code="request_too_complex")
