"""What OpenAI-compatible providers refuse in a chat request, and how the request is made acceptable.

docs/providers/openai-family.md has the source of each fact.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Final

import msgspec

from llm_gateway.wire.raw_json import JsonObject, says_nothing

# What this gateway's own replies may contain, and clients send back, besides OpenAI's fields.
OWN_FIELDS: Final = frozenset({"reasoning_content", "reasoning_details", "extra_content"})
# OpenAI's fields of an assistant's message that say nothing in a request.
_OUTPUT_FIELDS = frozenset({"refusal", "annotations", "audio"})
# Hints about caching and safety that only newer servers know.
_HINTS = frozenset({"prompt_cache_options", "prompt_cache_retention", "safety_identifier", "verbosity"})
_NO_OP_VALUES: Mapping[str, frozenset[bytes]] = {
    "frequency_penalty": frozenset({b"0", b"0.0"}),
    "presence_penalty": frozenset({b"0", b"0.0"}),
    "logprobs": frozenset({b"false"}),
    "top_logprobs": frozenset({b"0"}),
    "logit_bias": frozenset({b"{}"}),
}
_DEVELOPER, _SYSTEM = b'"developer"', msgspec.Raw(b'"system"')
_NESTED = ("content", "tool_calls")
# Those of a message's fields that its parts and calls, and tools, may have, too.
_NESTED_FIELDS = frozenset({"cache_control", "extra_content"})
_encode = msgspec.json.Encoder().encode
_decode_objects = msgspec.json.Decoder(list[JsonObject]).decode


class _Everywhere:
    """Contains every address."""

    def __contains__(self, base_url: object) -> bool:
        return True


_EVERYWHERE: Final = _Everywhere()


class RequestRules:
    """Removes what one provider refuses. Values that say nothing are removed silently, others are reported.

    A request without such fields is sent byte for byte: messages are only parsed if they may contain one.
    """

    def __init__(
        self,
        *,
        base_urls: Container[str] = _EVERYWHERE,
        fields: frozenset[str] = frozenset(),
        message_fields: frozenset[str] = frozenset(),
        no_ops: frozenset[str] = frozenset(),
        takes_developer: bool = True,
        efforts: Mapping[str, str] | None = None,
    ) -> None:
        """`base_urls`: the only addresses that the rules hold for.

        `fields` are removed at the top level, and `no_ops` there if they have their default value. `message_fields`
        are removed from messages, their parts and calls, and tools. `takes_developer=False`: the role becomes
        `system`. `efforts` replaces values of `reasoning_effort`.
        """
        self.base_urls = base_urls
        self._fields = fields | no_ops
        self._no_ops = no_ops
        self._message_fields = message_fields
        self._nested_fields = message_fields & _NESTED_FIELDS
        self._takes_developer = takes_developer
        self._efforts = {
            _encode(given): msgspec.Raw(_encode(sent)) for given, sent in (efforts or {}).items()
        }
        names = message_fields if takes_developer else message_fields | {"developer"}
        self._marks = _marks(names)

    def encode(self, fields: JsonObject, ignored_fields: tuple[str, ...]) -> tuple[bytes, tuple[str, ...]]:
        """Return the body of a chat request, and `ignored_fields` with the paths of what was removed."""
        found: list[str] = []
        if not self._fields.isdisjoint(fields):
            self._trim(fields, found)
        if self._efforts and (effort := fields.get("reasoning_effort")) is not None:
            lowered = self._efforts.get(bytes(effort))
            if lowered is not None:
                fields["reasoning_effort"] = lowered
                found.append("reasoning_effort")
        body = _encode(fields)
        for mark in self._marks:
            if mark.search(body) is not None:
                for name in ("messages", "tools"):
                    self._clean_list(fields, name, name, found)
                body = _encode(fields)
                break
        return body, (*ignored_fields, *found) if found else ignored_fields

    def _trim(self, fields: JsonObject, found: list[str]) -> None:
        """Remove top-level fields."""
        for name in sorted(self._fields & fields.keys()):
            if name not in self._no_ops:
                if not says_nothing(fields.pop(name)):
                    found.append(name)
            elif bytes(fields[name]) in _NO_OP_VALUES[name]:
                del fields[name]

    def _clean_list(self, parent: JsonObject, name: str, path: str, found: list[str]) -> None:
        """Remove fields from the objects of a list; anything else is for the provider to judge."""
        try:
            objects = _decode_objects(parent.get(name, b""))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        for index, one in enumerate(objects):
            where = f"{path}[{index}]"
            if not self._takes_developer and "role" in one and bytes(one["role"]) == _DEVELOPER:
                one["role"] = _SYSTEM
            unwanted = sorted(
                (self._message_fields if path == "messages" else self._nested_fields) & one.keys()
            )
            found += [f"{where}.{field}" for field in unwanted if not says_nothing(one.pop(field))]
            if path == "messages":
                for nested in _NESTED:
                    self._clean_list(one, nested, f"{where}.{nested}", found)
        parent[name] = msgspec.Raw(_encode(objects))


def _marks(names: frozenset[str]) -> tuple[re.Pattern[bytes], ...]:
    """Return patterns, of which one matches a body that has one of the names as a string.

    A pattern that begins with an underscore is several times as fast: it is rarer in JSON than a quotation mark.
    """
    ends = sorted({name.rpartition("_")[2] for name in names if "_" in name})
    others = sorted(name for name in names if "_" not in name)
    patterns = [f'_(?:{"|".join(ends)})"'] if ends else []
    patterns += [f'"(?:{"|".join(others)})"'] if others else []
    return tuple(re.compile(pattern.encode()) for pattern in patterns)


_STRICT = OWN_FIELDS | _OUTPUT_FIELDS | {"cache_control"}
# These servers know three levels of effort.
_THREE_EFFORTS = {"max": "high", "xhigh": "high"}

# For servers that take every field.
NO_RULES: Final = RequestRules(base_urls=frozenset())
OPENAI_RULES = RequestRules(
    base_urls=frozenset(f"https://{region}api.openai.com/v1" for region in ("", "us.", "eu.")),
    message_fields=OWN_FIELDS | {"cache_control"},
)
AZURE_RULES = RequestRules(message_fields=OWN_FIELDS | {"cache_control"})
RULES: Mapping[str, RequestRules] = {
    "mistral": RequestRules(
        fields=_HINTS,
        message_fields=_STRICT | {"reasoning"},
        takes_developer=False,
        efforts=_THREE_EFFORTS,
    ),
    "deepseek": RequestRules(takes_developer=False),
    "groq": RequestRules(
        fields=_HINTS | {"prompt_cache_key"},
        message_fields=_STRICT | {"name"},
        no_ops=frozenset({"logprobs", "top_logprobs", "logit_bias"}),
        efforts=_THREE_EFFORTS,
    ),
    "together": RequestRules(takes_developer=False, efforts=_THREE_EFFORTS),
    "xai": RequestRules(takes_developer=False, efforts=_THREE_EFFORTS),
    "fireworks": RequestRules(
        fields=_HINTS, message_fields=_STRICT - {"reasoning_content"}, takes_developer=False
    ),
    "cerebras": RequestRules(
        fields=_HINTS | {"service_tier"},
        message_fields=_STRICT,
        no_ops=frozenset({"frequency_penalty", "presence_penalty", "logit_bias"}),
        takes_developer=False,
        efforts=_THREE_EFFORTS,
    ),
}
