"""How long the console's pages take: `python -m benchmarks.console_pages [ROWS]`, with Chromium.

It serves a gateway with 10,000 usage rows of a day, 2,000 credentials and a request of 5 MB, in a database of its own
in PostgreSQL, and opens every page several times: by HTTP alone, which is the server's time, and in a browser, from
the click to the end of loading. Figures are medians; a page that takes over 300 ms in the browser is marked.
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
from tests.e2e.sql import run_sql
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
    slowest: float
    browser: float
    size: int


def fill(scene: Scene, url: str, rows: int) -> None:
    """Add the many credentials and the usage rows."""
    names = [f"team-{number:04}" for number in range(1, CREDENTIALS + 1)]
    # Made in the database: each write by the admin API waits until every worker serves it.
    run_sql(
        scene.gateway,
        f"""INSERT INTO credentials (name, key_hash, key_prefix, created_at, updated_at, limits)
        SELECT 'team-' || lpad(n::text, 4, '0'), sha256(n::text::bytea), 'sk-team', now(), now(),
            '{{"requests_per_minute": 600}}'
        FROM generate_series(1, {CREDENTIALS}) AS n""",
    )
    accepted(scene.gateway.admin.post("/config/reload"))
    traffic = Traffic({"gpt-4o": ("good",), "shared": ("failing", "good")}, names)
    asyncio.run(store(url, records(traffic, rows)))
    large = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * BODY_BYTES}]}
    answer = scene.gateway.post("/v1/chat/completions", scene.key, json=large)
    assert answer.status_code == 200, answer.text[:300]
    scene.places["request_id"] = answer.headers["x-request-id"]


def server_ms(ask: Callable[[], httpx.Response]) -> tuple[list[float], int]:
    """Return the times of a response, and its size."""
    times: list[float] = []
    size = 0
    for _ in range(RUNS):
        began = time.perf_counter()
        response = ask()
        times.append((time.perf_counter() - began) * 1000)
        assert response.status_code == 200, (response.url, response.status_code)
        size = len(response.content)
    return times, size


async def browser_ms(page: Page, url: str) -> float:
    """Return the median time from the start of a navigation to the end of loading and layout."""
    times: list[float] = []
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
                times, size = server_ms(lambda address=address: client.get(address))  # type: ignore[misc]
                shown = await browser_ms(page, scene.origin + address)
                found.append(Times(path, statistics.median(times), max(times), shown, size))
        await browser.close()
    return found


def measure_playground(scene: Scene) -> float:
    """Return the median time of a chat of 5 MB in the playground."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * BODY_BYTES}], "stream": True}
    path = _PLAYGROUND.replace("{id}", scene.places["credentials"])
    with signed_in(scene) as client:
        return statistics.median(server_ms(lambda: client.post(path, json=body))[0])


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
    print("| page | server | slowest | browser | kB |\n|---|---:|---:|---:|---:|")
    for one in found:
        mark = " **slow**" if max(one.browser, one.slowest) > LIMIT_MS else ""
        times = f"{one.server:.0f} | {one.slowest:.0f} | {one.browser:.0f}"
        print(f"| `{one.path}` | {times}{mark} | {one.size / 1000:.0f} |")
    print(f"\nA chat of 5 MB in the playground, to the end of its answer: {playground:.0f} ms")


if __name__ == "__main__":
    main()
