"""Reads the markup of a page for what the security policy forbids, and for its links and forms."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

_ADDRESSES = ("href", "src", "action", "formaction", "data-live", "poster", "srcset")


class Element(NamedTuple):
    """A tag with its attributes."""

    tag: str
    attributes: dict[str, str]


class Markup(HTMLParser):
    """The elements of a page or of an SVG file, and its inline scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.inline: list[str] = []
        # The script or style that is open.
        self._code: Element | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag in {"script", "style"}:
            self._code = element

    def handle_endtag(self, tag: str) -> None:
        if self._code is not None and tag == self._code.tag:
            self._code = None

    def handle_data(self, data: str) -> None:
        # Data that scripts read is no code.
        if (
            self._code is not None
            and self._code.attributes.get("type") != "application/json"
            and data.strip()
        ):
            self.inline.append(f"<{self._code.tag}> {data[:100]}")

    def forbidden(self) -> list[str]:
        """Return inline scripts, handlers and styles, and addresses that are scripts."""
        found = list(self.inline)
        for tag, attributes in self.elements:
            for name, value in attributes.items():
                if name.startswith("on") or name in {"style", "srcdoc"}:
                    found.append(f"<{tag} {name}={value[:100]!r}>")
                if name in _ADDRESSES and value.strip().lower().startswith(("javascript:", "data:text")):
                    found.append(f"<{tag} {name}={value[:100]!r}>")
        return found

    def links(self) -> set[str]:
        """Return where the page leads to, as written."""
        return {
            attributes["href"] for tag, attributes in self.elements if tag == "a" and "href" in attributes
        }

    def forms(self) -> list[str]:
        """Return where forms that can be sent go to, without those that only ask for a page."""
        found: list[str] = []
        action = None
        for tag, attributes in self.elements:
            if tag == "form":
                is_post = attributes.get("method", "get").lower() == "post"
                action = attributes.get("action", "") if is_post else None
            is_button = tag == "button" and attributes.get("type") == "submit"
            if is_button and action is not None and "disabled" not in attributes:
                found.append(attributes.get("formaction", action))
        return found
