"""How long the console's pages take: `python -m benchmarks.console_pages [ROWS]`, with Chromium.

It serves a gateway with 10,000 usage rows of a day, 2,000 credentials and a request of 5 MB, in a database of its own
in PostgreSQL, and opens every page several times: by HTTP alone, which is the server's time, and in a browser, from
the click to the end of loading. Each figure is the median; a page that takes over 300 ms in the browser is marked.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import httpx
from playwright.async_api import Page, async_playwright

from tests.console import addresses
from tests.console.browsing import Faults, visitor
from tests.console.scene import Scene, set_scene, signed_in
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess, accepted
from tests.fakes.made_up_usage import Traffic, records, store
from tests.fakes.upstream import FakeUpstream
from tests.services import find_chromium, find_postgres, fresh_database

ROWS: Final = 10_000
CREDENTIALS: Final = 2_000
BODY_BYTES: Final = 5_000_000
RUNS: Final = 7
LIMIT_MS: Final = 300.0
_PLAYGROUND: Final = "/console/playground/credentials/{id}/chat/completions"


class Times(NamedTuple):
    """Of one page, in milliseconds, and its bytes."""

    path: str
    server: float
    browser: float
    size: int


def fill(scene: Scene, url: str, rows: int) -> None:
    """Add the many credentials and the usage rows."""
    names = [f"team-{number:04}" for number in range(CREDENTIALS)]
    for number, name in enumerate(names):
        accepted(scene.gateway.admin.post("/credentials", json={"name": name}))
        if number % 500 == 499:
            print(f"{number + 1} credentials", file=sys.stderr)
    traffic = Traffic({"gpt-4o": ("good",), "shared": ("failing", "good")}, names)
    asyncio.run(store(url, records(traffic, rows)))
    large = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * BODY_BYTES}]}
    answer = scene.gateway.post("/v1/chat/completions", scene.key, json=large)
    assert answer.status_code == 200, answer.text[:300]
    scene.places["request_id"] = answer.headers["x-request-id"]


def server_ms(ask: Callable[[], httpx.Response]) -> tuple[float, int]:
    """Return the median time of a response, and its size."""
    times, size = [], 0
    for _ in range(RUNS):
        began = time.perf_counter()
        response = ask()
        times.append((time.perf_counter() - began) * 1000)
        assert response.status_code == 200, (response.url, response.status_code)
        size = len(response.content)
    return statistics.median(times), size


async def browser_ms(page: Page, url: str) -> float:
    """Return the median time from the start of a navigation to the end of loading and layout."""
    times = []
    for _ in range(RUNS):
        await page.goto(url)
        times.append(
            await page.evaluate(
                """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(
                  () => done(performance.getEntriesByType("navigation")[0].loadEventEnd))))"""
            )
        )
    return statistics.median(times)


async def measure(scene: Scene, chromium: str) -> list[Times]:
    """Open every page."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        visiting = await visitor(browser, scene.origin, Faults())
        await visiting.sign_in(ADMIN_KEY)
        page = await visiting.context.new_page()
        found = []
        with signed_in(scene) as client:
            for path in addresses.of_signed_in(addresses.pages()):
                address = addresses.fill(path, scene.places)
                server, size = server_ms(lambda address=address: client.get(address))  # type: ignore[misc]
                shown = await browser_ms(page, scene.origin + address)
                found.append(Times(path, server, shown, size))
        await browser.close()
    return found


def measure_playground(scene: Scene) -> float:
    """Return the median time of a chat of 5 MB in the playground."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * BODY_BYTES}], "stream": True}
    path = _PLAYGROUND.replace("{id}", scene.places["credentials"])
    with signed_in(scene) as client:
        return server_ms(lambda: client.post(path, json=body))[0]


def main() -> None:
    """Fill a gateway, measure, and print a table."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with ExitStack() as stack:
        postgres, fake = find_postgres(), FakeUpstream().start()
        stack.callback(postgres.stop)
        stack.callback(fake.stop)
        url = stack.enter_context(fresh_database(postgres.url))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gateway = GatewayProcess(folder, DB_URL=url, WORKERS=2, LOG_LEVEL="warning")
        stack.callback(gateway.close)
        scene = set_scene(gateway.start(), fake)
        fill(scene, url, rows)
        found = asyncio.run(measure(scene, find_chromium().url))
        playground = measure_playground(scene)
    print(f"{rows:,} usage rows, {CREDENTIALS:,} credentials; medians of {RUNS}, in ms\n")
    print("| page | server | browser | kB |\n|---|---:|---:|---:|")
    for one in found:
        mark = " **slow**" if one.browser > LIMIT_MS else ""
        print(f"| `{one.path}` | {one.server:.0f} | {one.browser:.0f}{mark} | {one.size / 1000:.0f} |")
    print(f"\nA chat of 5 MB in the playground, to the end of its answer: {playground:.0f} ms")


if __name__ == "__main__":
    main()
