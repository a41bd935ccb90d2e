"""What a stored request would ask the router."""

from __future__ import annotations

import pytest

from llm_gateway.console.requests.question import endpoint_of, question_of
from llm_gateway.flow.explain.answer import Question
from tests.fakes.usage_records import record


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/chat/completions", "chat/completions"),
        ("/v1/completions", "completions"),
        ("/openai/deployments/gpt-4o/embeddings", "embeddings"),
        ("/v1/responses", "responses"),
        ("/api/llm/completion", "chat/completions"),
    ],
)
def test_a_path_has_an_endpoint(path: str, endpoint: str) -> None:
    assert endpoint_of(path) == endpoint


def test_a_request_with_a_model_and_a_credential_has_a_question() -> None:
    assert question_of(record("r")) == Question(model="gpt-4o", credential="team")
    assert question_of(record("r", model=None)) is None
    assert question_of(record("r", credential=None)) is None
