"""Providers that insist on what they document: an Azure resource, which takes a key or a token that its own token
endpoint gave, and a server that refuses what it does not know.
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, unquote, urlsplit

WIRE = Path(__file__).parents[1] / "wire"
KEY = "azure-key-1"
CLIENT, CLIENT_SECRET, SCOPE = (
    "the-client",
    "the+client/secret",
    "https://cognitiveservices.azure.com/.default",
)
TOKEN = "entra-token-1"
DEPLOYMENT = "my gpt"
API_VERSION = "2024-10-21"
CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1741569952,
    "model": "some-model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
}
# What the strict one knows in a message and at the top level, as Mistral does.
KNOWN_IN_MESSAGES = {"role", "content", "name", "tool_calls", "tool_call_id", "prefix"}
KNOWN = {"model", "messages", "stream", "max_tokens", "temperature", "top_p", "stop", "tools", "n"}


class StrictServers:
    """All on one loopback port: `azure` and `strict` are base URLs, `tokens` is the token endpoint.

    `seen` holds (path, body) of each POST of JSON, `granted` counts tokens.
    """

    def __init__(self) -> None:
        """Take a free port."""
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.granted = 0
        seen = self.seen
        servers = self

        class Handler(_Handler):
            def grant(self) -> None:
                servers.granted += 1

            def note(self, path: str, body: dict[str, Any]) -> None:
                seen.append((path, body))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.azure = f"{origin}/azure"
        self.strict = f"{origin}/strict/v1"
        self.tokens = f"{origin}/entra/oauth2/v2.0/token"

    def start(self) -> StrictServers:
        """Answer from now on."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def note(self, path: str, body: dict[str, Any]) -> None:
        raise NotImplementedError

    def grant(self) -> None:
        raise NotImplementedError

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_GET(self) -> None:
        lane, path = self._place()
        if lane == "azure" and path in ("/openai/v1/models", "/openai/models"):
            self._recorded(200, "azure/models.1.json")
        elif lane == "strict" and path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": "mistral-small-latest", "object": "model"}]})
        else:
            self._json(404, {"error": {"message": "Resource not found", "code": "404"}})

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["content-length"]))
        lane, path = self._place()
        if lane == "entra":
            self._token({name: values[0] for name, values in parse_qs(sent.decode()).items()})
            return
        body = json.loads(sent)
        self.note(self.path, body)
        if lane == "azure":
            self._azure(path, body)
        elif path == "/v1/chat/completions":
            self._strict(body)
        else:
            self._json(404, {"detail": "Not Found"})

    def _azure(self, path: str, body: dict[str, Any]) -> None:
        version = parse_qs(urlsplit(self.path).query).get("api-version")
        shown = (self.headers["api-key"], self.headers["authorization"])
        if shown not in ((KEY, None), (None, f"Bearer {TOKEN}")):
            self._json(
                401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}}
            )
        elif path == "/openai/v1/chat/completions" and version is not None:
            self._recorded(400, "azure/error.none.version-on-v1.json")
        elif (path, version) == (f"/openai/deployments/{DEPLOYMENT}/chat/completions", [API_VERSION]) or (
            path == "/openai/v1/chat/completions" and body["model"] == DEPLOYMENT
        ):
            if "violence" in json.dumps(body["messages"]):
                self._recorded(400, "azure/error.content_policy.prompt.json")
            else:
                self._reply(body, "azure/prompt-filter-first.sse")
        else:
            self._recorded(404, "azure/error.unserved.deployment.json")

    def _token(self, form: dict[str, str]) -> None:
        pair = base64.b64encode(f"{CLIENT}:{quote_plus(CLIENT_SECRET)}".encode()).decode()
        if self.headers["authorization"] != f"Basic {pair}":
            self._json(
                401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret"}
            )
        elif form != {"grant_type": "client_credentials", "scope": SCOPE}:
            self._json(400, {"error": "invalid_scope"})
        else:
            self.grant()
            self._json(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN})

    def _strict(self, body: dict[str, Any]) -> None:
        unknown: list[list[Any]] = [["body", name] for name in sorted(body.keys() - KNOWN)]
        for index, message in enumerate(body["messages"]):
            place: list[Any] = ["body", "messages", index, message["role"]]
            unknown += [[*place, name] for name in sorted(message.keys() - KNOWN_IN_MESSAGES)]
            if message["role"] not in {"system", "user", "assistant", "tool"}:
                unknown.append(["body", "messages", index, "role"])
        if unknown:
            detail = [
                {"type": "extra_forbidden", "loc": place, "msg": "Extra inputs are not permitted"}
                for place in unknown
            ]
            self._json(
                422, {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error"}
            )
        else:
            self._reply(body, "mistral/usage-on-the-last-chunk.sse")

    def _reply(self, body: dict[str, Any], recording: str) -> None:
        if body.get("stream"):
            self._send(200, "text/event-stream", (WIRE / recording).read_bytes())
        else:
            self._json(200, CHAT)

    def _place(self) -> tuple[str, str]:
        _, lane, rest = unquote(urlsplit(self.path).path).split("/", 2)
        return lane, f"/{rest}"

    def _recorded(self, status: int, name: str) -> None:
        self._send(status, "application/json", (WIRE / name).read_bytes())

    def _json(self, status: int, value: object) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
