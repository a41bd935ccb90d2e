"""Limits how many JSON values a request body may contain, before it is parsed."""

from __future__ import annotations

import re
from collections import deque
from itertools import islice

from llm_gateway.core.errors import BadRequest

# A smaller body cannot contain enough values to block the process.
SMALL_BODY = 256 * 1024
# A string with its escapes, or the start of an object or an array. Takes linear time: the quantifiers are possessive,
# and an unterminated string is consumed whole.
_TEXT_OR_CONTAINER = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{\[]', re.DOTALL)


def check_body_bounds(body: bytes, max_values: int) -> None:
    """Raise BadRequest when `body` contains more than `max_values` names, strings, objects and arrays in total.

    Numbers, booleans and nulls do not count: embeddings take long arrays of token numbers. Takes linear time and
    at most one copy of the body in memory.
    """
    if len(body) < SMALL_BODY:
        return
    # A fast upper bound that suffices for nearly every body; strings may contain these characters, too.
    if len(body) - len(body.translate(None, b'{["')) <= max_values:
        return
    found = deque(enumerate(islice(_TEXT_OR_CONTAINER.finditer(body), max_values + 1), 1), maxlen=1)
    if found and found[0][0] > max_values:
        message = (
            f"The request body contains more than {max_values} JSON names, strings, objects and arrays "
            "(MAX_BODY_VALUES). Send less in one request."
        )
        raise BadRequest(message, code="request_too_complex")
