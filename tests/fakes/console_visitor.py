"""A visitor of a running gateway's console, who is signed in, and reads the streams that pages follow."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx


class Event(NamedTuple):
    """A server-sent event."""

    name: str
    data: str


class ConsoleVisitor:
    """One browser without scripts."""

    def __init__(self, origin: str, key: str, prefix: str = "") -> None:
        self.client = httpx.Client(base_url=origin, timeout=15, trust_env=False)
        self.prefix = prefix
        answer = self.post("/console/sign-in", key=key)
        assert answer.status_code == 303, answer.text

    def get(self, path: str, status: int = 200) -> str:
        answer = self.client.get(self.prefix + path)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
        return answer.text

    def post(self, path: str, **fields: str) -> httpx.Response:
        origin = str(self.client.base_url).rstrip("/")
        return self.client.post(self.prefix + path, data=fields, headers={"origin": origin})

    @contextmanager
    def follow(self, path: str) -> Iterator[Iterator[Event]]:
        """Open the stream that a page follows; yield its events."""
        with self.client.stream("GET", path, timeout=30) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield _events(answer.iter_lines())

    def close(self) -> None:
        self.client.close()


def _events(lines: Iterator[str]) -> Iterator[Event]:
    name, data = "message", []
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field.rstrip(":") == "data":
            data.append(value)
        elif not line:
            if data:
                yield Event(name, "\n".join(data))
            name, data = "message", []


def live_path(page: str) -> str:
    """Return the path of the stream that a page follows."""
    found = re.search(r'data-live="([^"]+)"', page)
    assert found is not None
    return html.unescape(found[1])


def tile(page: str, label: str) -> tuple[str, str]:
    """Return the value of a tile, and what it says beside it."""
    pattern = (
        rf'tile-label">{re.escape(label)}</span><strong class="tile-value">(.*?)</strong>'
        r'(?:<span class="tile-more">(.*?)</span>)?'
    )
    found = re.search(pattern, page)
    assert found is not None, f"{label} is not shown"
    return html.unescape(found[1]), html.unescape(found[2] or "")


def code_blocks(page: str) -> list[str]:
    """Return the texts that a page has to copy."""
    return [html.unescape(text) for text in re.findall(r"<code>([^<]*\n[^<]*)</code>", page)]
