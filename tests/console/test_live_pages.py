"""Pages that follow the gateway change where they are: nothing jumps, closes, or loses the focus."""

from __future__ import annotations

from tests.console.conftest import Visit
from tests.console.scene import Scene

# The places of all boxes whose content changes, within the page.
_BOXES = """() => [...document.querySelectorAll(".tile, .chart, .plot svg, .ranked section, #numbers")].map((one) => {
  const box = one.getBoundingClientRect();
  return [box.x, box.y + scrollY, box.width].map(Math.round);
})"""
_REQUESTS = ".totals .tile-value >> nth=0"


async def test_the_overview_follows_without_a_jump(small_scene: Scene, visit: Visit) -> None:
    visiting = await visit(small_scene)
    page = await visiting.open("/console/overview?range=1h")
    before = int((await page.inner_text(_REQUESTS)).replace(",", ""))
    boxes = await page.evaluate(_BOXES)
    link = page.locator(".ranked a").first
    address = await link.get_attribute("href")
    await link.focus()
    small_scene.chat("gpt-4o")
    await page.wait_for_function(
        "(before) => document.querySelector('.totals .tile-value').textContent !== String(before)", arg=before
    )
    assert int((await page.inner_text(_REQUESTS)).replace(",", "")) == before + 1
    assert await page.evaluate(_BOXES) == boxes
    assert await page.evaluate("document.activeElement.getAttribute('href')") == address


async def test_what_is_open_and_scrolled_stays_so(small_scene: Scene, visit: Visit) -> None:
    visiting = await visit(small_scene, width=360)
    page = await visiting.open("/console/overview?range=1h")
    before = await page.inner_text(_REQUESTS)
    summary = page.locator("#numbers > summary")
    await summary.click()
    table = page.locator("#numbers .table")
    await table.evaluate("(one) => { one.scrollLeft = 150; }")
    small_scene.chat("gpt-4o")
    await page.wait_for_function(
        "(before) => document.querySelector('.totals .tile-value').textContent !== before", arg=before
    )
    assert await page.locator("#numbers").get_attribute("open") is not None
    assert await table.evaluate("(one) => one.scrollLeft") == 150
    # The focus is where it was, on the new element.
    assert await page.evaluate("document.activeElement.tagName") == "SUMMARY"


async def test_the_first_run_shows_a_request_as_it_arrives(small_scene: Scene, visit: Visit) -> None:
    visiting = await visit(small_scene)
    page = await visiting.open("/console/first-run")
    request_id = small_scene.chat("gpt-4o")
    link = page.locator(f"#step-request a[href$='{request_id}']")
    await link.wait_for()
    times = page.locator("#step-request time")
    assert await times.first.get_attribute("data-shown") is not None
