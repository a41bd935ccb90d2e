"""Tests a running gateway as a client of dgen-ping: python examples/test_client.py [user] ["prompt"].

Covers health, token generation and validation, a completion with its telemetry, and telemetry of one's own. Needs
nothing but Python. GATEWAY_URL is the gateway (default: http://127.0.0.1:8001), TOKEN_SECRET the secret of tokens
(default: that of `.env` in the current folder, else of examples/.env). Exits with 0 if everything works, 1 otherwise.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

URL = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8001").rstrip("/")
TIMEOUT = 90
# Requests to this machine use no proxy.
OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Failed(Exception):
    """A step did not work; the text says why."""


def token_secret() -> str:
    """Return TOKEN_SECRET of the environment or of a file."""
    if secret := os.environ.get("TOKEN_SECRET"):
        return secret
    for file in (Path(".env"), Path(__file__).with_name(".env")):
        if file.exists():
            for line in file.read_text("utf-8-sig").splitlines():
                name, _, value = line.partition("=")
                if name.strip() == "TOKEN_SECRET" and value.strip():
                    return value.strip().strip("'\"")
    return ""


def call(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    """Return the JSON of the answer; raise Failed with the server's reason."""
    request = urllib.request.Request(
        URL + path,
        None if body is None else json.dumps(body).encode(),
        {"content-type": "application/json"} | (headers or {}),
        method=method,
    )
    try:
        with OPEN(request, timeout=TIMEOUT) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode("utf-8", "replace")
        try:
            reason = json.loads(text)["detail"]
        except (ValueError, KeyError, TypeError):
            reason = text[:300]
        raise Failed(f"{method} {path}: {error.code}: {reason}") from None
    except (OSError, ValueError) as error:
        raise Failed(
            f"{method} {path}: {error}. Is the gateway running? Start it: python examples/run.py"
        ) from None


def expect(condition: object, message: str) -> None:
    """Raise Failed unless the condition holds."""
    if not condition:
        raise Failed(message)


class Client:
    """One user's walk through the API."""

    def __init__(self, user: str, prompt: str) -> None:
        self.user = user
        self.prompt = prompt
        self.token = ""
        self.secret = {"X-Token-Secret": token_secret()}

    def health(self) -> str:
        """Ask whether the service is healthy, and what it is."""
        call("GET", "/health")
        info = call("GET", "/info")
        expect(info.get("status") == "ok", f"the service is not ready: {info.get('status')}")
        return f"{info['service']} {info['version']}, default model {info['defaults']['model']}"

    def generate_token(self) -> str:
        """Get a token for the user."""
        made = call("POST", "/generate-token", {"soeid": self.user}, self.secret)
        expect(made.get("soeid") == self.user, f"the token is for {made.get('soeid')!r}")
        self.token = made["token"]
        return f"a token of {len(self.token)} characters for {self.user}"

    def validate_token(self) -> str:
        """Have the token checked, and one that is not valid."""
        expect(self.token, "there is no token to check")
        checked = call("POST", "/verify-token", {"token": self.token}, self.secret)
        expect(checked["valid"] and checked["data"]["soeid"] == self.user, f"it is not valid: {checked}")
        wrong = call("POST", "/verify-token", {"token": self.token[:-6]}, self.secret)
        expect(not wrong["valid"], "a token with a cut signature was accepted")
        return f"it is {self.user}'s; a forged one is refused"

    def complete(self) -> str:
        """Have a prompt completed, and look at the telemetry in the answer."""
        expect(self.token, "there is no token to use")
        body = {"soeid": self.user, "project_name": "examples", "prompt": self.prompt, "temperature": 0.3}
        answer = call("POST", "/api/llm/completion", body, {"X-API-Token": self.token})
        text, metadata = answer["completion"], answer["metadata"]
        expect(text, "the completion is empty")
        tokens = metadata["tokens"]
        print(f"      {text[:200]}")
        return (
            f"{answer['model']}: {tokens['prompt']} + {tokens['completion']} = {tokens['total']} tokens in "
            f"{metadata['latency']} s, request {metadata['request_id']}"
        )

    def report(self) -> str:
        """Report an event."""
        expect(self.token, "there is no token to use")
        event = {
            "event_type": "custom_event",
            "request_id": "test-123",
            "client_ip": "127.0.0.1",
            "metadata": {
                "client_id": self.user,
                "soeid": self.user,
                "project_name": "examples",
                "target_service": "custom",
                "endpoint": "/custom",
                "method": "POST",
                "status_code": 200,
                "latency_ms": 100.0,
                "request_size": 50,
                "response_size": 200,
            },
        }
        answer = call("POST", "/telemetry", event, {"X-API-Token": self.token})
        return f"event {answer['id']}"


def main(arguments: list[str]) -> int:
    """Take all steps, and return the exit code."""
    if len(arguments) > 2 or any(argument in {"-h", "--help"} for argument in arguments):
        print(__doc__)
        return 0 if len(arguments) <= 2 else 2
    user, prompt = (*arguments, *("default_user", "Hello, how are you?")[len(arguments) :])
    client = Client(user, prompt)
    steps: dict[str, Callable[[], str]] = {
        "Health check": client.health,
        "Token generation": client.generate_token,
        "Token validation": client.validate_token,
        "Completion with telemetry": client.complete,
        "Manual telemetry": client.report,
    }
    print(f"Testing {URL} as {user}")
    failures = 0
    for name, step in steps.items():
        try:
            print(f"ok    {name}: {step()}")
        except Failed as failure:
            failures += 1
            print(f"FAIL  {name}: {failure}")
    print(f"{len(steps) - failures} of {len(steps)} tests passed.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
