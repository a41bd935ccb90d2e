"""Guesses of the path that a client meant."""

from __future__ import annotations

import pytest

from llm_gateway.http.meant_paths import MeantPaths

PATHS = MeantPaths(
    "/v1/", ["/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/responses"], ["/v1/models/"]
)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/completions", "/v1/completions"),
        ("/models", "/v1/models"),
        ("/models/gpt-4", "/v1/models/gpt-4"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/models/a/b", "/v1/models/a/b"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1//chat//completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1/chat/completions//", "/v1/chat/completions"),
        ("/v1/models/", "/v1/models"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),
        ("/V1/Chat/Completions", "/v1/chat/completions"),
        ("/v1/chat/completions ", "/v1/chat/completions"),
        ("/api/v1/responses", "/v1/responses"),
        ("/v2/chat/completions", "/v1/chat/completions"),
        ("/openai/deployments/gpt/chat/completions", "/v1/chat/completions"),
    ],
)
def test_the_usual_mistakes_are_recognised(path: str, meant: str) -> None:
    assert PATHS.find(path) == meant


@pytest.mark.parametrize(
    "path", ["/", "", "/v1", "/v1/", "/v1/images", "/favicon.ico", "/v1/models/a", "/" * 5000]
)
def test_other_paths_are_not_guessed(path: str) -> None:
    assert PATHS.find(path) is None
