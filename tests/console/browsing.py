"""Pages in Chromium, and all that goes wrong in them: errors, refused requests, what the security policy stopped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    Response,
    WebError,
)

Scheme = Literal["light", "dark"]
WIDE: Final = 1440
NARROW: Final = 360
HEIGHT: Final = 900
PATIENCE_MS: Final = 10_000

# In the page itself, because the console shows only some violations.
_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`security policy: ${event.violatedDirective} stopped ${event.blockedURI} ${event.sample}`);
});
"""
_AXE = """(runOnly) => axe.run({resultTypes: ["violations"], runOnly})"""
_RULES: Final = {
    "type": "tag",
    "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
_CONTRAST: Final = {"type": "rule", "values": ["color-contrast"]}
_GRAVE = {"serious", "critical"}
# Chromium says this of a page that was answered with an error, which is what the test may be about.
_STATUS = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")


class Faults:
    """What went wrong in the pages of one test."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._statuses: set[int] = set()

    def expect_status(self, *statuses: int) -> None:
        """Allow pages with these statuses."""
        self._statuses.update(statuses)

    def watch(self, context: BrowserContext) -> None:
        """Note what goes wrong in every page of a context."""
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("dialog", self._dialog)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)

    def found(self) -> list[str]:
        """Return what was not expected, and forget it."""
        seen, self._seen = self._seen, []
        return seen

    def forget(self) -> None:
        """Begin again, with nothing expected."""
        self._seen.clear()
        self._statuses.clear()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"}:
            return
        status = _STATUS.match(message.text)
        if status is not None and int(status[1]) in self._statuses:
            return
        place = message.location.get("url", "")
        self._seen.append(f"console {message.type}: {message.text} ({place})")

    def _error(self, error: WebError) -> None:
        self._seen.append(f"error of a script: {error.error}")

    async def _dialog(self, dialog: Dialog) -> None:
        self._seen.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _failed(self, request: Request) -> None:
        # A page that is left ends its stream of events, and what it was still loading.
        if request.resource_type != "document" and request.failure == "net::ERR_ABORTED":
            return
        self._seen.append(f"request failed: {request.method} {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self._statuses:
            self._seen.append(f"status {response.status}: {response.request.method} {response.url}")


class Visitor:
    """One browser context: its cookies, its colours, its width."""

    def __init__(self, context: BrowserContext, origin: str, faults: Faults, prefix: str = "") -> None:
        """Visit the gateway at `origin`, whose paths begin with `prefix`."""
        self.context = context
        self.origin = origin
        self.prefix = prefix
        self.faults = faults

    def url(self, path: str) -> str:
        return f"{self.origin}{self.prefix}{path}"

    async def open(self, path: str, status: int = 200) -> Page:
        """Return a new page at `path`, loaded."""
        page = await self.context.new_page()
        return await self.go(page, path, status)

    async def go(self, page: Page, path: str, status: int = 200) -> Page:
        """Go on to `path`, wait for it to load, and return the page."""
        if status >= 400:
            self.faults.expect_status(status)
        response = await page.goto(self.url(path))
        assert response is not None
        assert response.status == status, f"{path}: {response.status} {await page.inner_text('body')}"
        return page

    async def sign_in(self, key: str) -> None:
        """Sign in, without a page for it."""
        response = await self.send("/console/sign-in", {"key": key})
        assert response.status == 303, await response.text()

    async def get(self, path: str, **options: Any) -> Any:
        """Return a response, without following it and without rendering it."""
        return await self.context.request.get(self.url(path), max_redirects=0, **options)

    async def send(self, path: str, form: Mapping[str, str] = {}, **headers: str) -> Any:
        """Return the response to a form as a page of this gateway would send it."""
        given = {"origin": self.origin} | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.context.request.post(
            self.url(path), form=dict(form), headers=given, max_redirects=0
        )


async def visitor(
    browser: Browser,
    origin: str,
    faults: Faults,
    *,
    prefix: str = "",
    scheme: Scheme = "light",
    width: int = WIDE,
    **options: Any,
) -> Visitor:
    """Return a visitor with a context of its own."""
    context = await browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": HEIGHT},
        locale="en-GB",
        timezone_id="Europe/Vienna",
        **options,
    )
    context.set_default_timeout(PATIENCE_MS)
    await context.add_init_script(_TELL_VIOLATIONS)
    faults.watch(context)
    return Visitor(context, origin, faults, prefix)


async def grave_findings(page: Page) -> list[str]:
    """Return what axe finds serious or critical in a page."""
    await page.evaluate(AXE_SCRIPT)
    return await _findings(page, _RULES)


async def poor_contrast(page: Page) -> list[str]:
    """Return the texts that axe cannot tell well from their background, after `grave_findings`."""
    return await _findings(page, _CONTRAST)


async def _findings(page: Page, rules: Mapping[str, Any]) -> list[str]:
    results = await page.evaluate(_AXE, rules)
    return [
        f"{found['id']} ({found['impact']}): {found['help']}: {node['html'][:200]}: {node['failureSummary']}"
        for found in results["violations"]
        if found["impact"] in _GRAVE
        for node in found["nodes"]
    ]


async def overflow(page: Page) -> int:
    """Return how many pixels a page is wider than its window."""
    wider: int = await page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wider


async def links(page: Page) -> list[str]:
    """Return the addresses that a page leads to or loads from its own server, as written."""
    found: list[str] = await page.evaluate(
        """() => [...document.querySelectorAll("[href], [src], [action], [data-live], [formaction]")].flatMap(
          (element) => ["href", "src", "action", "data-live", "formaction"].map((name) => element.getAttribute(name))
        ).filter((address) => address && !address.startsWith("#"))"""
    )
    return [address for address in found if not urlsplit(address).netloc]


async def strangers(page: Page) -> list[str]:
    """Return elements that only an escaped name can bring: handlers, inline scripts, addresses that are scripts."""
    found: list[str] = await page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((element) => {
          const names = element.getAttributeNames();
          const address = element.getAttribute("href") || element.getAttribute("src") || "";
          return names.some((name) => name.startsWith("on")) || /^\\s*javascript:/i.test(address)
            || (element.tagName === "SCRIPT" && !element.src && element.type !== "application/json")
            || (element.tagName === "IMG" && element.getAttribute("src") === "x");
        }).map((element) => element.outerHTML.slice(0, 200))"""
    )
    return found


async def without_visible_focus(page: Page) -> list[str]:
    """Return what the keyboard reaches without a ring around it."""
    found: list[str] = await page.evaluate(
        """() => {
          const reached = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
          return [...document.querySelectorAll(reached)].filter((element) => {
            if (element.disabled || !element.checkVisibility()) return false;
            element.focus({focusVisible: true});
            const style = getComputedStyle(element);
            return document.activeElement !== element
              || style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2;
          }).map((element) => element.outerHTML.slice(0, 200));
        }"""
    )
    return found
