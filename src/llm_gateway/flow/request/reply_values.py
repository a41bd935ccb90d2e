"""Bounds the number of values in a large reply, before it is decoded."""

from __future__ import annotations

import asyncio

from llm_gateway.core.json_bounds import LARGE, MOST_VALUES, count_values
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.failures.upstream_errors import too_large


async def check_values(request: ModelRequest, body: bytes) -> None:
    """Raise AttemptFailed for a reply with too many values to decode; other requests run meanwhile."""
    most = MOST_VALUES
    if request.endpoint == "embeddings":
        # Vectors are millions of numbers, of eight and more characters each.
        most = max(most, len(body) // 8)
    values = 0
    for start in range(0, len(body), LARGE):
        values += count_values(body, start, start + LARGE)
        if values > most:
            raise too_large(f"the provider's reply holds more than {most} JSON values")
        await asyncio.sleep(0)
