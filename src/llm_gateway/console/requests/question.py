"""What a stored request would ask the router."""

from __future__ import annotations

from typing import Final

from llm_gateway.core.endpoints import ENDPOINTS, EndpointName
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.explain.answer import Question

# Longer names first: a path that ends with `chat/completions` ends with `completions`, too.
_ENDINGS: Final = sorted(ENDPOINTS, key=len, reverse=True)


def question_of(record: UsageRecord) -> Question | None:
    """Return the question, without what is not stored; None if the request was refused before it could be routed."""
    if record.model is None or record.credential is None:
        return None
    return Question(model=record.model, credential=record.credential, endpoint=endpoint_of(record.endpoint))


def endpoint_of(path: str) -> EndpointName:
    """Return the endpoint of a path. APIs of other systems are chats."""
    return next((name for name in _ENDINGS if path.endswith(f"/{name}")), "chat/completions")
