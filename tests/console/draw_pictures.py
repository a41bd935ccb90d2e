"""Draws the pictures of docs/console.md anew: `python -m tests.console.draw_pictures`, which takes half a minute.

They show a gateway with a made-up day of use. `CONSOLE_PICTURES=1 make console-test` draws them after its tests.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page, async_playwright

from tests.console.browsing import NARROW, Faults, Scheme, Visitor, visitor
from tests.console.png import small_png
from tests.console.scene import Scene
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess
from tests.fakes.made_up_usage import Traffic, records, store
from tests.fakes.script import Script, Tokens, script
from tests.fakes.upstream import FakeUpstream
from tests.services import find_chromium, find_postgres, fresh_database

FOLDER: Final = Path(__file__).parents[2] / "docs" / "pictures" / "console"
# By the name of the picture. Of addresses that name a row, the id by its noun.
PAGES: Final = {
    "overview": "/console/overview",
    "first-run": "/console/first-run",
    "playground": "/console/playground",
    "requests": "/console/requests",
    "request": "/console/requests/{request_id}",
    "providers": "/console/providers",
    "provider": "/console/providers/{providers}",
    "models": "/console/models",
    "model": "/console/models/{models}",
    "task-types": "/console/task-types",
    "credentials": "/console/credentials",
    "credential": "/console/credentials/{credentials}",
    "tenants": "/console/tenants",
    "projects": "/console/projects",
    "budgets": "/console/budgets",
    "prices": "/console/prices",
    "configuration": "/console/configuration",
    "sessions": "/console/sessions",
    "design": "/console/design",
}
_REQUESTS: Final = 4_000
_TALLEST: Final = 1_000
# Of every model, in the playground.
_ANSWER: Final = (
    "It tells ", "a complete ", "answer from ", "one that ", "was cut off ", "on the way, ",
    "which would ", "look the same ", "otherwise.",
)  # fmt: skip


def furnish(scene: Scene, fake: FakeUpstream) -> Traffic:
    """Add rows with names as a company has them."""
    for tenant, limits in (("research", {"requests_per_minute": 600}), ("support", None)):
        scene.create("tenants", name=tenant, limits=limits)
    scene.create("projects", name="search", tenant="research", limits={"tokens_per_day": 5_000_000})
    scene.create("projects", name="help-desk", tenant="support")
    for name, kind, weight, models in (
        ("openai-eu", "openai", 3, {"gpt-4o": "gpt-4o", "gpt-4o-mini": "gpt-4o-mini"}),
        ("openai-us", "openai", 1, {"gpt-4o": "gpt-4o", "gpt-4o-mini": "gpt-4o-mini"}),
        ("own-cluster", "openai", 1, {"llama-70b": "llama-3.1-70b"}),
    ):
        scene.create(
            "providers",
            provider_key=name,
            provider_type=kind,
            api_base=fake.lane(name).base_url,
            api_key="sk-upstream-secret",
            weight=weight,
            model_mapping=models,
            price_provider="openai" if kind == "openai" and name != "own-cluster" else None,
        )
        fake.lane(name).default = Script(pieces=_ANSWER, gap=0.03, tokens=Tokens(prompt=34, completion=27))
    scene.create("models", name="gpt-4o", fallbacks=["llama-70b"], weights={"openai-eu": 4, "openai-us": 1})
    scene.create("models", name="gpt-4o-mini", cache={"ttl": 300})
    scene.create("task-types", name="summarize", models=["gpt-4o-mini", "llama-70b"])
    names = {"search-service": "research", "notebooks": "research", "help-desk-bot": "support"}
    for name, tenant in names.items():
        made = scene.create("credentials", name=name, tenant=tenant, limits={"concurrent_requests": 50})
        scene.key = scene.key or made["key"]
    scene.create("credentials", name="nightly-batch", allowed_models=["llama-*"], is_enabled=False)
    scene.create("budgets", name="everything", scope="all", amount_usd="60", period="month")
    scene.create(
        "budgets", name="research", scope="tenant", subject="research", amount_usd="30", period="month"
    )
    scene.create("budgets", name="each user", scope="user", amount_usd="1", period="day")
    scene.create(
        "prices",
        provider="own-cluster",
        upstream_model="llama-3.1-70b",
        prices={"input_tokens": "0.4", "output_tokens": "0.6"},
    )
    return Traffic(
        {
            "gpt-4o": ("openai-eu", "openai-us"),
            "gpt-4o-mini": ("openai-eu", "openai-us"),
            "llama-70b": ("own-cluster",),
        },
        list(names),
        ("research", "support"),
    )


async def draw(browser: Browser, scene: Scene) -> None:
    """Take a picture of every page, of two of them in the dark, and of one on a telephone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    light = await _visitor(browser, scene)
    stranger = await visitor(browser, scene.origin, Faults())
    await _take(stranger, "sign-in", "/console/sign-in")
    for name, path in PAGES.items():
        await _take(light, name, path.format_map(scene.places))
    dark = await _visitor(browser, scene, scheme="dark")
    await _take(dark, "overview-dark", "/console/overview")
    narrow = await _visitor(browser, scene, width=NARROW)
    await _take(narrow, "overview-narrow", "/console/overview")


async def _visitor(browser: Browser, scene: Scene, scheme: Scheme = "light", **options: Any) -> Visitor:
    visiting = await visitor(browser, scene.origin, Faults(), scheme=scheme, **options)
    await visiting.sign_in(ADMIN_KEY)
    return visiting


async def _compare(page: Page) -> None:
    """Ask two models the same."""
    await page.click("#pg-compare")
    await page.keyboard.type("llama-70b")
    await page.fill("#pg-system", "Answer in one sentence.")
    await page.fill("#pg-prompt", "Why does a stream of tokens have a last event?")
    await page.click("#pg-send")
    await page.locator(".pg-facts").nth(1).wait_for()
    await page.evaluate("document.activeElement.blur()")


async def _take(visiting: Visitor, name: str, path: str) -> None:
    page = await visiting.open(path)
    if name == "playground":
        await _compare(page)
    height = await page.evaluate("() => document.documentElement.scrollHeight")
    size = page.viewport_size
    assert size is not None
    await page.set_viewport_size({"width": size["width"], "height": max(300, min(height, _TALLEST))})
    await page.evaluate("window.scrollTo(0, 0)")
    picture = await page.screenshot(animations="disabled", caret="hide")
    (FOLDER / f"{name}.png").write_bytes(await small_png(visiting.context, picture))
    await page.close()


async def _draw_all(scene: Scene, url: str, traffic: Traffic) -> None:
    await store(url, records(traffic, _REQUESTS))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium().url, args=["--no-sandbox", "--force-device-scale-factor=1"]
        )
        await draw(browser, scene)
        await browser.close()


def main() -> None:
    """Start a gateway, and draw."""
    with ExitStack() as stack:
        postgres, fake = find_postgres(), FakeUpstream().start()
        stack.callback(postgres.stop)
        stack.callback(fake.stop)
        url = stack.enter_context(fresh_database(postgres.url))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gateway = GatewayProcess(folder, DB_URL=url, WORKERS=2, LOG_LEVEL="warning")
        stack.callback(gateway.close)
        scene = Scene(gateway.start())
        traffic = furnish(scene, fake)
        tokens = script(tokens=Tokens(prompt=1200, completion=345, cached=200, reasoning=45), gap=0.02)
        scene.places["request_id"] = scene.chat("gpt-4o", fields={"fake": tokens, "stream": True})
        asyncio.run(_draw_all(scene, url, traffic))


if __name__ == "__main__":
    main()
