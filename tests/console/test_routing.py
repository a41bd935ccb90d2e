"""Providers and models in the browser: shares as one types and without a script, a test, and models from a list."""

from __future__ import annotations

import itertools
import re
from typing import Any, Final

import pytest
from playwright.async_api import expect

from tests.console.browsing import grave_findings
from tests.console.conftest import Visit
from tests.console.filling import field_of, fill, submit
from tests.console.scene import IMAGE, Scene
from tests.e2e.gateway_process import accepted
from tests.fakes.script import Script, error_body
from tests.fakes.upstream import FakeUpstream

PROVIDERS, MODELS = "/console/providers", "/console/models"
# The page is left while the button says it.
_NOTE_PROGRESS: Final = """
document.querySelector("#test form").addEventListener("submit", ({submitter}) => setTimeout(() => {
  sessionStorage.said = submitter.textContent + (submitter.disabled ? " (cannot be pressed)" : "");
}, 50));
"""
_numbers = itertools.count(1)


class Pair:
    """Two providers of equal weight that alone serve a model."""

    def __init__(self, scene: Scene, fake: FakeUpstream) -> None:
        number = next(_numbers)
        self.scene = scene
        self.model = f"pair-{number} <b>"
        self.keys = [f"{name}-{number} <i>" for name in ("first", "second")]
        self.lanes = [fake.lane(f"{name}-{number}") for name in ("first", "second")]
        self.ids = [
            scene.create(
                "providers",
                provider_key=key,
                provider_type="openai",
                api_base=lane.base_url,
                model_mapping={self.model: "up"},
            )["id"]
            for key, lane in zip(self.keys, self.lanes, strict=True)
        ]
        self.page = f"{PROVIDERS}/{self.ids[0]}"

    def stored(self) -> dict[str, Any]:
        """Return the first provider as it is stored."""
        return accepted(self.scene.gateway.admin.get(f"/providers/{self.ids[0]}"))


@pytest.fixture
def pair(scene: Scene, fake: FakeUpstream) -> Pair:
    return Pair(scene, fake)


async def test_shares_follow_the_weights_as_one_types_and_nothing_is_stored(
    scene: Scene, visit: Visit, pair: Pair
) -> None:
    page = await (await visit(scene)).open(pair.page)
    panel = page.locator(".shares")
    await expect(panel.locator("strong")).to_have_text("50.0 %")
    await fill(page, {"weight": "3"})
    await expect(panel.locator("strong")).to_have_text("75.0 %")
    await expect(panel).to_contain_text(f"{pair.keys[1]} 25.0 %")
    await fill(page, {"weight": "many"})
    await expect(panel).to_contain_text("Weight: must be a number")
    await fill(page, {"weight": "0"})
    await expect(panel).to_contain_text("weight 0")
    assert await grave_findings(page) == []
    assert pair.stored()["weight"] == 1
    await fill(page, {"weight": "3"})
    assert await submit(page) == 200
    assert pair.stored()["weight"] == 3


async def test_shares_are_shown_without_a_script(scene: Scene, visit: Visit, pair: Pair) -> None:
    page = await (await visit(scene, java_script_enabled=False)).open(pair.page)
    await fill(page, {"weight": "3", "api_key": "sk-typed"})
    await page.get_by_role("button", name="Show shares").click()
    await expect(page.locator(".shares strong")).to_have_text("75.0 %")
    assert await field_of(page, "weight").input_value() == "3"
    assert "Type it again" in await page.inner_text("main")
    assert pair.stored()["weight"] == 1
    assert await submit(page) == 200
    assert pair.stored()["weight"] == 3


async def test_weights_of_a_model_are_shown_before_they_are_stored(
    scene: Scene, visit: Visit, pair: Pair
) -> None:
    page = await (await visit(scene)).open(f"{MODELS}/new")
    await fill(page, {"name": pair.model, "weights": f"{pair.keys[0]} = 9"})
    await expect(page.locator(".shares strong")).to_have_text(["90.0 %", "10.0 %"])
    assert await submit(page) == 200
    explained = accepted(scene.gateway.admin.post("/route/explain", json={"model": pair.model}))
    candidates = explained["routes"][0]["candidates"]
    assert [one["weight"] for one in candidates] == [9, 1]


async def test_a_provider_is_tested_and_shows_progress(scene: Scene, visit: Visit, pair: Pair) -> None:
    page = await (await visit(scene)).open(pair.page)
    card = page.locator("#test")
    await page.evaluate(_NOTE_PROGRESS)
    pair.lanes[0].next.append(Script(delay=0.5))
    await card.get_by_role("button", name="Test").click()
    await expect(card).to_contain_text("It works: up answered in")
    assert await page.evaluate("sessionStorage.said") == "Testing… (cannot be pressed)"
    pair.lanes[0].next.append(Script(status=401, body=error_body(IMAGE)))
    await card.get_by_role("button", name="Test").click()
    await expect(card).to_contain_text("Set a valid api_key")
    await expect(card).to_contain_text(IMAGE)
    assert await grave_findings(page) == []


async def test_a_model_from_the_list_of_the_provider_is_added(scene: Scene, visit: Visit, pair: Pair) -> None:
    page = await (await visit(scene)).open(pair.page)
    pair.lanes[0].models = ("up", "other <u>")
    await page.get_by_role("button", name="List its models").click()
    await expect(page.locator("main")).to_contain_text("It lists 2 models.")
    assert await grave_findings(page) == []
    await page.get_by_label("Public name for other <u>").fill("another name")
    await page.get_by_role("button", name="Add other <u>").click()
    await page.wait_for_url(re.compile(r"done=changed"))
    assert pair.stored()["model_mapping"] == {pair.model: "up", "another name": "other <u>"}


async def test_a_provider_is_switched_in_the_list(scene: Scene, visit: Visit, pair: Pair) -> None:
    page = await (await visit(scene)).open(f"{PROVIDERS}?search={pair.keys[0].split()[0]}")
    for verb, other in (("Disable", "Enable"), ("Enable", "Disable")):
        await page.get_by_role("button", name=f"{verb} {pair.keys[0]}").click()
        await expect(page.get_by_role("button", name=f"{other} {pair.keys[0]}")).to_be_visible()
        assert pair.stored()["is_enabled"] is (verb == "Enable")
