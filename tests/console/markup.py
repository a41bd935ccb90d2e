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
    """The elements of a page or of an SVG file, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.inline: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        opened = self.elements[-1] if self.elements else Element("", {})
        if opened.tag == "style" or (opened.tag == "script" and not opened.attributes.get("src")):
            if data.strip() and opened.attributes.get("type") != "application/json":
                self.inline.append(f"<{opened.tag}> {data[:100]}")
        self.texts.append(data)

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

    def addresses(self) -> list[str]:
        """Return where the page leads to and what it loads, as written, without places in itself."""
        found = [
            value
            for _, attributes in self.elements
            for name, value in attributes.items()
            if name in _ADDRESSES and value and not value.startswith("#")
        ]
        return list(dict.fromkeys(found))
