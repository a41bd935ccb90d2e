"""Bounds how much JSON a request body may hold, before anything is parsed."""

from __future__ import annotations

import re
from collections import deque
from itertools import islice

from llm_gateway.core.errors import BadRequest

# A smaller body cannot hold enough to keep the process busy; it costs one comparison.
SMALL_BODY = 256 * 1024
# A text with its escapes, or the start of an object or an array. Linear time: the quantifiers give nothing back, and
# a text without an end is consumed whole.
_TEXT_OR_CONTAINER = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{\[]', re.DOTALL)


def check_body_bounds(body: bytes, max_values: int) -> None:
    """Raise BadRequest when `body` holds more than `max_values` names, texts, objects and arrays together.

    Numbers, booleans and nulls do not count: embeddings take long arrays of token numbers. Takes linear time, and
    no memory beyond one copy of the body.
    """
    if len(body) < SMALL_BODY:
        return
    # An upper bound in one pass, since a text may hold any of these characters. It settles nearly every body.
    if len(body) - len(body.translate(None, b'{["')) <= max_values:
        return
    found = deque(enumerate(islice(_TEXT_OR_CONTAINER.finditer(body), max_values + 1), 1), maxlen=1)
    if found and found[0][0] > max_values:
        message = (
            f"The request body holds more than {max_values} JSON names, texts, objects and arrays (MAX_BODY_VALUES). "
            "Send less in one request."
        )
        raise BadRequest(message, code="request_too_complex")
