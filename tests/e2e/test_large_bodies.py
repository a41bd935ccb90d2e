"""One body as large as is allowed, of any shape and from any key, stops nobody else and takes bounded memory."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.e2e.gateway_process import GatewayProcess

SIZE = 16 * 1024 * 1024
KINDS = ("openai", "anthropic", "gemini")
REPLIES = {
    b"/chat/completions": {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
    b"/messages": {
        "id": "x",
        "model": "m",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "a"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    b":generateContent": {
        "candidates": [{"content": {"parts": [{"text": "a"}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
    },
}
# Seconds. Nothing tight: what this guards against took 8 to 40 seconds.
PATIENCE = 2.0
# Bytes of memory that do not depend on the size of the body.
MARGIN = 16 * 1024 * 1024


def _list_of(value: str, count: int) -> str:
    return "[" + ",".join([value] * count) + "]"


def _chat(messages: str, more: str = "") -> str:
    return f'{{"model":"MODEL","messages":{messages}{more}}}'


def _parts(part: str) -> str:
    return _chat(f'[{{"role":"user","content":[{part}]}}]')


def _image(url: str) -> str:
    return _parts(f'{{"type":"image_url","image_url":{{"url":"{url}"}}}}')


SHAPES: dict[str, Callable[[int], str]] = {
    "one text": lambda size: _chat(f'[{{"role":"user","content":"{"a" * size}"}}]'),
    "one text with one emoji": lambda size: _chat(f'[{{"role":"user","content":"{"a" * size}\U0001f600"}}]'),
    "one image": lambda size: _image("data:image/png;base64," + "A" * size),
    "an image with parameters": lambda size: _image("data:image/png" + ";a" * (size // 2) + ";base64,AAAA"),
    "an image without a comma": lambda size: _image("data:image/png;base64" + ";" * size),
    "names": lambda size: _chat("[]", "".join(f',"{number:08x}":1' for number in range(size // 13))),
    "numbers": lambda size: _chat(_list_of("1", size // 2)),
    "empty messages": lambda size: _chat(_list_of("{}", size // 3)),
    "short messages": lambda size: _chat(_list_of('{"role":"user","content":"a"}', size // 30)),
    "parts": lambda size: _parts(",".join(['{"type":"text","text":"a"}'] * (size // 27))),
    "depth": lambda size: _chat("[]", ',"x":' + "[" * (size // 2) + "]" * (size // 2)),
    "brackets in a text": lambda size: _chat(f'[{{"role":"user","content":"{"[{" * (size // 2)}"}}]'),
    "escapes": lambda size: _chat('[{"role":"user","content":"' + "\\u0041" * (size // 6) + '"}]'),
    "spaces": lambda size: _chat("[]", " " * size),
    "tools": lambda size: _chat(
        '[{"role":"user","content":"a"}]',
        ',"tools":' + _list_of('{"type":"function","function":{"name":"a","parameters":{}}}', size // 60),
    ),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("large"), LLM_TIMEOUT=60)
    gateway.start()
    yield gateway
    gateway.close()


class Sink(threading.Thread):
    """A provider that reads what comes without looking at it, and answers in the format of the path."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @staticmethod
    def _serve(connection: socket.socket) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            head, _, rest = head.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            left = (int(length[1]) if length else 0) - len(rest)
            while left > 0:
                left -= len(connection.recv(1 << 20))
            reply = json.dumps(next(reply for mark, reply in REPLIES.items() if mark in head)).encode()
            connection.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n" % len(reply) + reply
            )


@pytest.fixture(scope="module")
def keys(gateway: GatewayProcess) -> Iterator[dict[str, str]]:
    sink = Sink()
    for kind in KINDS:
        gateway.create_provider(kind, sink.base_url, provider_type=kind, model_mapping={f"of-{kind}": "m"})
    yield {
        "open": gateway.create_credential("open"),
        "blocked": gateway.create_credential("blocked", rate_limit=0),
        "without models": gateway.create_credential("nothing", allowed_models=[]),
    }
    sink.close()


class Watch:
    """Asks for /health as often as it can, and notes the longest wait and the process's peak memory."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._url = f"http://127.0.0.1:{gateway.port}/health"
        self._pid = gateway.pid
        self._over = threading.Event()
        self.longest = 0.0
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        self._before = _peak(self._pid)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.grown = _peak(self._pid) - self._before

    def _watch(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._over.is_set():
                began = time.monotonic()
                assert client.get(self._url).status_code == 200
                self.longest = max(self.longest, time.monotonic() - began)
                time.sleep(0.01)


def _peak(pid: int) -> int:
    """Return the process's peak memory in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(text.split("VmHWM:")[1].split()[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_s4_14_others_do_not_wait_and_memory_is_bounded(
    gateway: GatewayProcess, keys: dict[str, str], shape: str, kind: str
) -> None:
    body = SHAPES[shape](SIZE).replace("MODEL", f"of-{kind}", 1).encode()
    with Watch(gateway) as watch:
        answer = gateway.post("/v1/chat/completions", keys["open"], content=body, timeout=60)
    assert answer.status_code in {200, 400}, answer.text[:300]
    assert watch.longest < PATIENCE
    # Python stores a text with one such character at four bytes for each, and a translation needs the text.
    times = 7 if shape == "one text with one emoji" and kind != "openai" else 4
    assert watch.grown < times * len(body) + MARGIN


@pytest.mark.parametrize("shape", ["names", "one text", "numbers"])
def test_a_cache_key_is_not_made_on_the_event_loop(
    gateway: GatewayProcess, keys: dict[str, str], shape: str
) -> None:
    body = SHAPES[shape](SIZE // 2).replace("MODEL", "of-openai", 1).encode()
    headers = {"x-llm-gateway-cache": "on"}
    with Watch(gateway) as watch:
        answer = gateway.post("/v1/chat/completions", keys["open"], content=body, timeout=60, headers=headers)
    assert answer.status_code in {200, 400}, answer.text[:300]
    assert watch.longest < PATIENCE


@pytest.mark.parametrize(("key", "status"), [("blocked", 429), ("without models", 403)])
def test_a_key_that_may_do_nothing_costs_nothing(
    gateway: GatewayProcess, keys: dict[str, str], key: str, status: int
) -> None:
    body = SHAPES["one text with one emoji"](SIZE).encode()
    with Watch(gateway) as watch:
        answer = gateway.post("/v1/chat/completions", keys[key], content=body, timeout=60)
    assert answer.status_code == status
    assert watch.longest < PATIENCE
    assert watch.grown < len(body) + MARGIN
