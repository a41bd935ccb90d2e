"""Gemini's wire as its own SDK knows it: recordings, a check of requests, and a provider that replays recordings."""

from __future__ import annotations

import base64
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.genai import types

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.secret import Secret
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.providers.gemini.encoding import write_body
from llm_gateway.providers.gemini.whole import complete
from llm_gateway.wire.gemini.contents import read_reply

RECORDINGS = Path(__file__).parents[1] / "wire" / "gemini"
# Replies to the same request, unary and streamed.
ANSWERS = sorted(
    path.stem
    for path in RECORDINGS.glob("*.sse")
    if path.with_suffix(".json").exists() and "broken" not in path.stem
)
BROKEN = sorted(path.stem for path in RECORDINGS.glob("broken-*.sse"))
ERRORS = sorted(path.stem for path in RECORDINGS.glob("error-*.json"))
KEY = "AIza-a-key-of-nobody"


def unary(name: str) -> bytes:
    """Return the JSON of a recording."""
    return (RECORDINGS / f"{name}.json").read_bytes()


def streamed(name: str) -> bytes:
    """Return the stream of a recording."""
    return (RECORDINGS / f"{name}.sse").read_bytes()


def request(
    *, endpoint: EndpointName = "chat/completions", stream: bool = False, **fields: Any
) -> ModelRequest:
    """Return a client's request with one user message, or with the given fields."""
    if endpoint == "completions":
        given = {"model": "public", "prompt": "hello", **fields}
    else:
        given = {"model": "public", "messages": [{"role": "user", "content": "hello"}], **fields}
    return ModelRequest(
        endpoint=endpoint,
        model="public",
        stream=stream,
        wants_usage=stream and (fields.get("stream_options") or {}).get("include_usage", False),
        fields={name: msgspec.Raw(json.dumps(value).encode()) for name, value in given.items()},
        created=1_700_000_000,
    )


def deployment(model: str = "gemini-2.5-flash", **fields: Any) -> Deployment:
    """Return a deployment at Google."""
    given: dict[str, Any] = {
        "provider_id": 1,
        "provider_key": "google",
        "kind": "gemini",
        "base_url": "https://generativelanguage.googleapis.com/v1beta",
        "secret": Secret(KEY),
        "upstream_model": model,
        "weight": 1,
        "stream_usage": True,
    }
    return Deployment(**given | fields)


def check_request(body: dict[str, Any]) -> None:
    """Hold a request's body against the SDK's types, which forbid what they do not know; raise ValueError."""
    known = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"}
    if unknown := body.keys() - known:
        raise ValueError(f"unknown fields: {sorted(unknown)}")
    if not body.get("contents"):
        raise ValueError("contents are not specified")
    for content in body["contents"]:
        parts = types.Content.model_validate(content).parts
        if not parts or content["role"] not in {"user", "model"}:
            raise ValueError("a content needs parts, and the role 'user' or 'model'")
        for part in content["parts"]:
            _check_part(part)
    if "systemInstruction" in body:
        types.Content.model_validate(body["systemInstruction"])
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))


def encode_body(model: str = "gemini-2.5-flash", **fields: Any) -> dict[str, Any]:
    """Return what `write_body` makes of a client's request, checked with the SDK's types."""
    body: dict[str, Any] = json.loads(write_body(request(**fields), model)[0])
    check_request(body)
    return body


def encoding_error(**fields: Any) -> BadRequest:
    """Return the error that `write_body` raises for a client's request."""
    with pytest.raises(BadRequest) as caught:
        write_body(request(**fields), "gemini-2.5-flash")
    return caught.value


def complete_recording(name: str, **fields: Any) -> dict[str, Any]:
    """Return the completion that a client gets for a recorded unary reply."""
    wanted: dict[str, Any] = {"n": 2} if name == "two-candidates" else {}
    body: dict[str, Any] = json.loads(complete(read_reply(unary(name)), request(**wanted | fields)).body)
    return body


def _check_part(part: dict[str, Any]) -> None:
    if len(part.keys() - {"thought", "thoughtSignature"}) != 1:
        raise ValueError("a part needs exactly one kind of data")
    if "inlineData" in part:
        base64.b64decode(part["inlineData"]["data"], validate=True)


def chunks(events: bytes) -> list[dict[str, Any]]:
    """Return the data of events, decoded."""
    found = []
    for event in split_events(events):
        data = event_data(event)
        assert data is not None
        found.append(json.loads(data))
    return found


def assembled(events: bytes) -> dict[str, Any]:
    """Put a stream's chunks together to the completion that they tell in pieces."""
    choices: dict[int, dict[str, Any]] = {}
    whole: dict[str, Any] = {"usage": None}
    for chunk in chunks(events):
        whole |= {name: chunk[name] for name in ("id", "created", "model")}
        whole["usage"] = chunk.get("usage") or whole["usage"]
        whole["object"] = chunk["object"].removesuffix(".chunk")
        for piece in chunk["choices"]:
            _join(choices, piece)
    return {**whole, "choices": [choices[index] for index in sorted(choices)]}


def _join(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    is_chat = "delta" in piece
    empty: dict[str, Any] = {"message": {"content": None, "refusal": None}} if is_chat else {"text": ""}
    empty |= {"index": piece["index"], "logprobs": None, "finish_reason": None}
    choice = choices.setdefault(piece["index"], empty)
    assert choice["finish_reason"] is None, "a choice that ended goes on"
    choice["finish_reason"] = piece["finish_reason"]
    if piece["logprobs"] is not None:
        before = (choice["logprobs"] or {"content": []})["content"]
        choice["logprobs"] = {"content": before + piece["logprobs"]["content"], "refusal": None}
    if not is_chat:
        choice["text"] += piece["text"]
        return
    message = choice["message"]
    for name, value in piece["delta"].items():
        if name == "tool_calls":
            for call in value:
                assert call.pop("index") == len(message.setdefault("tool_calls", []))
                message["tool_calls"].append(call)
        elif name in {"role", "extra_content"}:
            message[name] = value
        else:
            message[name] = (message.get(name) or "") + value


class FakeGemini:
    """A provider on the loopback that replays recordings, in turn, to requests that Google would take.

    `list:<name>` is a recorded stream as JSON, as a server gives it that takes no note of `alt=sse`.
    """

    def __init__(self) -> None:
        """Take a port; `serving` serves."""
        self.recordings: deque[str] = deque()
        # Method, path, headers and body of each request.
        self.seen: list[tuple[str, str, dict[str, str], Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def origin(self) -> str:
        """Return the address, to which `/v1beta` is to be added."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator[FakeGemini]:
        """Answer requests until left."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def answer(self, path: str, key: str | None, body: Any) -> tuple[int, str, bytes]:
        """Return the status, content type and body for one request."""
        if key != KEY:
            return 400, "application/json", unary("error-bad-key")
        if path.partition("?")[0] == "/v1beta/models":
            return 200, "application/json", unary("models")
        try:
            check_request(body)
        except ValueError as fault:
            error = {"error": {"code": 400, "message": str(fault), "status": "INVALID_ARGUMENT"}}
            return 400, "application/json", json.dumps(error).encode()
        name = self.recordings.popleft()
        if name.startswith("error-"):
            content = unary(name)
            return json.loads(content)["error"]["code"], "application/json", content
        if name.startswith("list:"):
            return 200, "application/json; charset=UTF-8", as_list(name.removeprefix("list:"))
        if path.endswith(":streamGenerateContent?alt=sse"):
            return 200, "text/event-stream", streamed(name)
        assert path.endswith(":generateContent")
        return 200, "application/json; charset=UTF-8", unary(name)


def as_list(name: str) -> bytes:
    """Return a recorded stream as Google sends it without `alt=sse`."""
    return json.dumps(chunks(streamed(name)), indent=1, ensure_ascii=False).encode()


def _handler(fake: FakeGemini) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._reply("POST", body)

        def do_GET(self) -> None:
            self._reply("GET", None)

        def _reply(self, method: str, body: Any) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.seen.append((method, self.path, headers, body))
            status, content_type, content = fake.answer(self.path, headers.get("x-goog-api-key"), body)
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            pass

    return Handler
