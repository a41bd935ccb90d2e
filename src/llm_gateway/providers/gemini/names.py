"""Names of functions as Gemini accepts them, and back."""

from __future__ import annotations

import re
import zlib
from functools import cached_property

import msgspec

from llm_gateway.core.model_request import ModelRequest

_LONGEST = 64
_VALID = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]*")
_INVALID = re.compile(r"[^a-zA-Z0-9_.:-]")


def gemini_name(name: str) -> str:
    """Return a name that Gemini accepts: it begins with a letter or `_` and has at most 64 characters.

    Only other names are changed; a checksum keeps different names different.
    """
    if len(name) <= _LONGEST and _VALID.fullmatch(name) is not None:
        return name
    checksum = f"_{zlib.crc32(name.encode()):08x}"
    return ("_" + _INVALID.sub("_", name[:_LONGEST]))[: _LONGEST - len(checksum)] + checksum


class _Function(msgspec.Struct, gc=False):
    name: str


class _Tool(msgspec.Struct, gc=False):
    function: _Function | None = None


_decode = msgspec.json.Decoder(list[_Tool]).decode


class FunctionNames:
    """Restores the client's names in the calls of a reply. The request's tools are read with the first call."""

    def __init__(self, request: ModelRequest) -> None:
        self._request = request

    def original(self, name: str) -> str:
        """Return the client's name of a function; the same name if it was not changed."""
        return self._changed.get(name, name)

    @cached_property
    def _changed(self) -> dict[str, str]:
        try:
            tools = _decode(self._request.fields.get("tools", b"[]"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        names = [tool.function.name for tool in tools if tool.function is not None]
        return {changed: name for name in names if (changed := gemini_name(name)) != name}
