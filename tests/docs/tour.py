"""Traces which modules run, in which order, for each route of the reader's tour in docs/architecture.md."""

from __future__ import annotations

import ast
import asyncio
import itertools
import json
import re
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import llm_gateway
from llm_gateway.app.asgi import create_app
from llm_gateway.app.operations.preparing import prepare
from llm_gateway.core.secret import Secret
from llm_gateway.settings import Settings
from tests.fakes.served import Served, served
from tests.fakes.upstream import FakeUpstream

SOURCE = str(Path(llm_gateway.__file__).parent) + "/"
ADMIN_KEY = "an-admin-key-for-the-tour"
KEY = "sk-of-the-tour"
RUNS = 5
# For what a request leaves to the background, such as a copy of the catalog and the end of its connection.
SETTLE_SECONDS = 0.15
CLOSE_SECONDS = 0.02
# They run on timers of their own, and so by chance during a tour. No request of a tour has a budget.
TIMERS = (
    "server/http1/deadlines.py",
    "infra/database/catalog/change_feed.py",
    "infra/database/budgets/balances.py",
    "infra/database/budgets/counting.py",
    "infra/database/budgets/notices.py",
    "infra/budgets/",
    "infra/use_limits/",
    "app/upkeep.py",
)
IDLE_SECONDS = 1.5
PAGE = Path(__file__).parents[2] / "docs/architecture.md"
HEADING = "## A reader's tour"
INTRODUCTION = """\
The modules that run for five typical operations, in the order in which each is first called; paths are below
`src/llm_gateway`. Modules that only define types do not appear. A test traces the operations and compares the lists;
`python -m tests.docs.tour` writes this section."""
TOURS = {
    "One chat request": "A streamed chat on a new connection, with a rate limit, to an OpenAI provider that answers.",
    "One usage row": "The chat left a record in the journal. `GET /admin/v1/usage` ships it and lists it.",
    "One admin write": "`PATCH /admin/v1/providers/{provider}` changes a weight, which is in force when it returns.",
    "One reload": "`POST /admin/v1/config/reload`; the change feed triggers the same when another process writes.",
    "One scrape": "`GET /metrics`.",
}
FIRST = "One chat request"
CHAT = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true}'


class ModuleTrace:
    """Notes each module of the gateway when one of its functions is first called, in any thread."""

    def __init__(self) -> None:
        self._modules: dict[str, None] | None = None
        # Those that another thread called first: their place in the order is chance.
        self.in_threads: set[str] = set()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Trace this thread, and those that are started from now on."""
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def start(self) -> None:
        """Begin a new list."""
        self._modules = {}

    def stop(self) -> list[str]:
        """Return the modules in the order in which they were first called, as paths below src/llm_gateway."""
        modules, self._modules = self._modules or {}, None
        return list(modules)

    def _on_event(self, frame: FrameType, event: str, arg: object) -> None:
        del arg
        if self._modules is None or event != "call":
            return
        file = frame.f_code.co_filename
        if not file.startswith(SOURCE) or file.endswith("__init__.py"):
            return
        module = file.removeprefix(SOURCE)
        if module not in self._modules:
            self._modules[module] = None
            if threading.current_thread() is not threading.main_thread():
                self.in_threads.add(module)


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[Served]:
    """Serve the whole gateway on a socket, in this event loop."""
    await prepare(settings)
    app = create_app(settings)
    started, stopping = asyncio.Event(), asyncio.Event()
    steps = iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))

    async def receive() -> dict[str, Any]:
        if started.is_set():
            await stopping.wait()
        return next(steps)

    async def send(message: object) -> None:
        del message
        started.set()

    lifespan = asyncio.ensure_future(app({"type": "lifespan"}, receive, send))
    await started.wait()
    try:
        async with served(cast("Any", app)) as here:
            yield here
    finally:
        stopping.set()
        await lifespan


async def _request(here: Served, method: str, path: str, key: str, body: bytes = b"") -> bytes:
    """Send one request over a connection of its own, and return the reply's body."""
    client = await here.connect()
    client.send(
        f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    answer = await client.answer()
    client.close()
    assert answer.status < 300, answer.body
    return answer.body


async def traced_tours(data_dir: Path, fake: FakeUpstream) -> dict[str, list[str]]:
    """Return the modules of each tour in the order in which they run, and under "idle" those of background work,
    whose place in the order is chance.

    A module is part of a tour if it runs every time: what a timer happens to run meanwhile does not.
    """
    settings = Settings(data_dir=data_dir, admin_key=Secret(ADMIN_KEY))
    trace = ModuleTrace()
    runs: dict[str, list[list[str]]] = {name: [] for name in TOURS}
    with trace.installed():
        async with _running(settings) as here:
            base = fake.lane("tour").base_url
            provider = {"provider_key": "p", "provider_type": "openai", "api_base": base, "api_key": "k"}
            await _request(here, "POST", "/admin/v1/providers", ADMIN_KEY, json.dumps(provider).encode())
            credential = {"name": "c", "key": KEY, "rate_limit": 1000}
            await _request(here, "POST", "/admin/v1/credentials", ADMIN_KEY, json.dumps(credential).encode())
            for turn in range(1, RUNS + 1):
                steps = {
                    "One chat request": ("POST", "/v1/chat/completions", KEY, CHAT),
                    "One usage row": ("GET", "/admin/v1/usage", ADMIN_KEY, b""),
                    "One admin write": (
                        "PATCH",
                        "/admin/v1/providers/p",
                        ADMIN_KEY,
                        b'{"weight": %d}' % turn,
                    ),
                    "One reload": ("POST", "/admin/v1/config/reload", ADMIN_KEY, b""),
                    "One scrape": ("GET", "/metrics", "", b""),
                }
                for name, request in steps.items():
                    trace.start()
                    await _request(here, *request)
                    runs[name].append(trace.stop())
                    # Usage is listed at once, before it is shipped unasked.
                    await asyncio.sleep(CLOSE_SECONDS if name == FIRST else SETTLE_SECONDS)
            # Its record is shipped in the background, as may happen to a record before usage is listed: at once, too.
            await _request(here, "POST", "/v1/chat/completions", KEY, CHAT)
            trace.start()
            await asyncio.sleep(IDLE_SECONDS)
            idle = trace.stop()
    # The first run imports modules and fills caches.
    tours = {name: _in_every(lists[1:]) for name, lists in runs.items()}
    # What runs in some turns and not in others ran before, or is yet to run, by chance.
    by_chance = {
        module
        for lists in runs.values()
        for one in lists[1:]
        for module in one
        if any(module not in two for two in lists[1:])
    }
    return {**tours, "idle": [*idle, *trace.in_threads, *by_chance]}


def _in_every(lists: list[list[str]]) -> list[str]:
    return [
        module
        for module in lists[-1]
        if not module.startswith(TIMERS) and all(module in other for other in lists)
    ]


def written(tours: dict[str, list[str]]) -> str:
    """Return the tours as docs/architecture.md has them: each module with the first sentence of its docstring."""
    parts = []
    chat = tours[FIRST]
    for name, about in TOURS.items():
        modules = tours[name]
        shared = 0 if name == FIRST else _shared(chat, modules)
        arrival = f" It arrives like the chat, through 1 to {shared}." if shared else ""
        lines = [f"{place}. `{module}`: {_sentence(module)}" for place, module in enumerate(modules, 1)]
        parts.append(f"### {name}\n\n{about}{arrival}\n\n" + "\n".join(lines[shared:]) + "\n")
    return "\n".join(parts)


def _shared(chat: list[str], modules: list[str]) -> int:
    """Return with how many of the chat's first modules `modules` begins."""
    return sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(chat, modules, strict=False))
    )


def _sentence(module: str) -> str:
    text = ast.get_docstring(ast.parse((Path(SOURCE) / module).read_text())) or ""
    sentence = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.]) ", sentence)[0].rstrip(".") + "."


def main() -> None:
    """Trace the tours and write them into docs/architecture.md."""
    fake = FakeUpstream().start()
    with tempfile.TemporaryDirectory() as folder:
        tours = asyncio.run(traced_tours(Path(folder) / "data", fake))
    head, heading, _ = PAGE.read_text().partition(HEADING)
    introduction = heading + "\n\n" + INTRODUCTION + "\n\n"
    PAGE.write_text(head + introduction + written(tours))


if __name__ == "__main__":
    main()
