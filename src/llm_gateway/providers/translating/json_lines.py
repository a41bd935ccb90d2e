"""Base of the readers of streams that are lines of JSON instead of server-sent events."""

from __future__ import annotations

from llm_gateway.providers.translating.stream import TranslatedStream


class JsonLinesStream(TranslatedStream):
    """Each line is an event: a JSON object, which goes to `take`."""

    json_lines = True

    def feed(self, data: bytes) -> bytes:
        """Read the next bytes, as `ReplyStream.feed` does; what ends a line there ends an event here."""
        return super().feed(data.replace(b"\n", b"\n\n"))
