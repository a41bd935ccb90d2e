"""How the clients of each API ask for a model's answer, and how they read what comes: one class for each dialect."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SECRET = "agents-secret-of-the-tests-0123456789"
# Of every gateway that serves all of them: limits that no test is to meet by chance, one attempt at each deployment.
SETTINGS: Mapping[str, object] = {
    "TOKEN_SECRET": "token-secret-of-the-tests-0123456789",
    "LLM_PROXY_SECRET": SECRET,
    "RATE_LIMIT": 1_000_000,
    "AGENT_RATE_LIMIT": 1_000_000,
    "RETRY_ATTEMPTS": 2,
    "CACHE_ENABLED": "false",
}
DONE = "[DONE]"


@dataclass(frozen=True)
class Answer:
    """What a client has read; a stream that was cut has a text, and `error`."""

    text: str = ""
    # Prompt and completion.
    tokens: tuple[int, int] | None = None
    # Whether a stream said that it is whole; always True of a whole answer.
    ended: bool = False
    # Code, or else type, of the error.
    error: str | None = None
    request_id: str | None = None


class ClientDialect(ABC):
    """One API, as its clients know it."""

    name: str
    path: str

    @abstractmethod
    def headers(self, key: str) -> dict[str, str]:
        """Return what identifies a client with a credential's key."""

    @abstractmethod
    def body(self, model: str, text: str, *, stream: bool) -> dict[str, Any]:
        """Return the JSON of a request for `model` to answer `text`."""

    @abstractmethod
    def read_error(self, fields: dict[str, Any]) -> Answer | None:
        """Read the JSON of an error, whether it came alone or in a stream; None if it is none."""

    @abstractmethod
    def read_fields(self, fields: dict[str, Any]) -> Answer:
        """Read the JSON of a whole answer, or of one event of a stream."""

    def read_whole(self, body: bytes) -> Answer:
        """Read a response that is no stream."""
        fields = json.loads(body)
        failed = self.read_error(fields)
        if failed is not None:
            return failed
        read = self.read_fields(fields)
        return Answer(read.text, read.tokens, True, None, read.request_id)

    def read_stream(self, body: bytes) -> Answer:
        """Read a stream, or as much of one as there is; AssertionError for one that no client would understand."""
        text, tokens, request_id, error = "", None, None, None
        ended = False
        for data in events(body):
            assert not ended, "something follows [DONE]"
            assert error is None, "something follows an error"
            if data == DONE:
                ended = True
                continue
            fields = json.loads(data)
            failed = self.read_error(fields)
            if failed is not None:
                error, request_id = failed.error, failed.request_id
                continue
            read = self.read_fields(fields)
            text += read.text
            tokens = read.tokens or tokens
            request_id = read.request_id or request_id
        return Answer(text, tokens, ended, error, request_id)


def events(body: bytes) -> Iterator[str]:
    """Return the data of every event that is complete."""
    for event in re.split(r"\r\n\r\n|\n\n|\r\r", body.decode("utf-8", "ignore"))[:-1]:
        lines = [
            line[5:].removeprefix(" ") for line in re.split(r"\r\n|\n|\r", event) if line.startswith("data:")
        ]
        if lines:
            yield "\n".join(lines)


class OpenAIClient(ClientDialect):
    """The gateway's own API, to which the others are compared."""

    name = "openai"
    path = "/v1/chat/completions"

    def headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def body(self, model: str, text: str, *, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
        return body | {"stream": True, "stream_options": {"include_usage": True}} if stream else body

    def read_error(self, fields: dict[str, Any]) -> Answer | None:
        error = fields.get("error")
        return None if error is None else Answer(error=error["code"] or error["type"])

    def read_fields(self, fields: dict[str, Any]) -> Answer:
        [choice] = fields["choices"] or [{}]
        said = choice.get("message") or choice.get("delta") or {}
        usage = fields.get("usage")
        tokens = None if usage is None else (usage["prompt_tokens"], usage["completion_tokens"])
        return Answer(said.get("content") or "", tokens)


class _DetailErrors(ClientDialect):
    """The errors of FastAPI's applications."""

    def read_error(self, fields: dict[str, Any]) -> Answer | None:
        if "detail" not in fields:
            return None
        error = fields["error"]
        assert fields["detail"], fields
        return Answer(error=error["code"] or error["type"], request_id=error["request_id"])


class PingClient(_DetailErrors):
    """dgen-ping's completions."""

    name = "ping"
    path = "/api/llm/completion"

    def headers(self, key: str) -> dict[str, str]:
        return {"x-api-token": key}

    def body(self, model: str, text: str, *, stream: bool) -> dict[str, Any]:
        body = {"soeid": "ab1234", "project_name": "risk-analysis", "prompt": text, "model": model}
        return body | {"stream": True} if stream else body

    def read_fields(self, fields: dict[str, Any]) -> Answer:
        assert isinstance(fields["completion"], str)
        metadata = fields.get("metadata")
        if metadata is None:
            return Answer(fields["completion"])
        tokens = metadata["tokens"]
        assert tokens["total"] == tokens["prompt"] + tokens["completion"]
        assert metadata["latency"] >= 0
        return Answer(
            fields["completion"],
            (tokens["prompt"], tokens["completion"]),
            request_id=metadata["request_id"],
        )


class AgentsClient(_DetailErrors):
    """The agents' LLM proxy. Its clients share a secret and have no credential: `key` is not sent."""

    name = "agents"
    path = "/internal/llm/proxy"

    def headers(self, key: str) -> dict[str, str]:
        return {"x-internal-secret": SECRET}

    def body(self, model: str, text: str, *, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "metadata": {"agent_id": "agent:sofia", "microdao_id": "microdao:7", "channel_id": "channel:1"},
        }
        return body | {"stream": True} if stream else body

    def read_fields(self, fields: dict[str, Any]) -> Answer:
        assert isinstance(fields["content"], str)
        usage = fields.get("usage")
        if usage is None:
            return Answer(fields["content"])
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert fields["latency_ms"] >= 0
        return Answer(fields["content"], (usage["prompt_tokens"], usage["completion_tokens"]))


class QueryClient(ClientDialect):
    """The query gateway, by its newer endpoint."""

    name = "query"
    path = "/v1/gateway/query"

    def headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def body(self, model: str, text: str, *, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = {"query": text, "model": model}
        return body | {"stream": True} if stream else body

    def read_error(self, fields: dict[str, Any]) -> Answer | None:
        if "error" not in fields:
            return None
        assert isinstance(fields["error"], str)
        assert fields["error_type"]
        return Answer(error=fields["code"] or fields["error_type"], request_id=fields["request_id"])

    def read_fields(self, fields: dict[str, Any]) -> Answer:
        assert isinstance(fields["response"], str)
        if "input_tokens" not in fields:
            return Answer(fields["response"])
        tokens = (fields["input_tokens"], fields["output_tokens"])
        assert fields["num_tokens"] == fields["total_tokens"] == sum(tokens)
        return Answer(fields["response"], tokens, request_id=fields["request_id"])


OPENAI = OpenAIClient()
DIALECTS: Mapping[str, ClientDialect] = {
    client.name: client for client in (OPENAI, PingClient(), AgentsClient(), QueryClient())
}
# Those that translate.
TRANSLATED = tuple(name for name in DIALECTS if name != OPENAI.name)
