"""The playground's form, and the chat request that it makes. `playground-request.js` makes the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm_gateway.console.forms.fields import Field
from llm_gateway.console.forms.form import FilledForm

_PARAMETERS = "Parameters"
_TOOLS = "Tools"
_OUTPUT = "Structured output"
_MORE = "More"
# Fields whose values are fields of the request's body as they stand.
_PLAIN: Final = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop", "reasoning_effort", "tools",
    "tool_choice",
)  # fmt: skip
_LONGEST_NAME = 200

FIELDS: Final = (
    Field(name="temperature", label="Temperature", kind="number", group=_PARAMETERS),
    Field(name="top_p", label="top_p", kind="number", group=_PARAMETERS),
    Field(name="max_tokens", label="max_tokens", kind="number", group=_PARAMETERS),
    Field(name="max_completion_tokens", label="max_completion_tokens", kind="number", group=_PARAMETERS),
    Field(name="seed", label="Seed", kind="number", group=_PARAMETERS),
    Field(
        name="reasoning_effort",
        label="Reasoning effort",
        kind="choice",
        options=tuple((name, name or "Not sent") for name in ("", "minimal", "low", "medium", "high")),
        group=_PARAMETERS,
    ),
    Field(name="stop", label="Stop", kind="lines", hint="Up to four texts, one a line.", group=_PARAMETERS),
    Field(
        name="tools",
        label="Tools",
        kind="json",
        hint="A JSON array of functions, as OpenAI's API takes them.",
        group=_TOOLS,
    ),
    Field(
        name="tool_choice",
        label="Tool choice",
        kind="choice",
        options=(("", "Not sent"), ("auto", "auto"), ("none", "none"), ("required", "required")),
        group=_TOOLS,
    ),
    Field(
        name="response_format",
        label="Format",
        kind="choice",
        options=(("", "Not sent"), ("json_object", "json_object"), ("json_schema", "json_schema")),
        group=_OUTPUT,
    ),
    Field(
        name="schema",
        label="JSON schema",
        kind="json",
        hint="For json_schema: the schema of the answer.",
        group=_OUTPUT,
    ),
    Field(
        name="cache",
        label="Reply cache",
        kind="choice",
        options=(
            ("", "As the model or the credential says"),
            ("on", "Use it"),
            ("refresh", "Ask anew, and cache the answer"),
            ("off", "Neither"),
        ),
        group=_MORE,
    ),
    Field(
        name="extra",
        label="Extra fields",
        kind="json",
        hint="A JSON object; its fields are sent as they are, instead of those above.",
        group=_MORE,
    ),
)


def chat_request(form: FilledForm, sent: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the body of a chat of one turn; None, with what is wrong in `form.errors`."""
    values = form.values(sent)
    model, prompt = sent.get("model", "").strip(), sent.get("prompt", "")
    if not model:
        form.errors["model"] = "Enter the model to ask."
    if not prompt.strip():
        form.errors["prompt"] = "Enter a message."
    _check(form, values)
    if form.errors:
        return None
    system = sent.get("system", "").strip()
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    body: dict[str, Any] = {"model": model, "messages": messages}
    body |= {name: values[name] for name in _PLAIN if values[name] is not None}
    if (kind := values["response_format"]) is not None:
        body["response_format"] = {"type": kind}
        if kind == "json_schema":
            body["response_format"]["json_schema"] = _named(values["schema"])
    return body | (values["extra"] or {})


def _check(form: FilledForm, values: Mapping[str, Any]) -> None:
    """Add what is wrong with fields that can be read."""
    if values.get("tools") is not None and not isinstance(values["tools"], list):
        form.errors["tools"] = "must be a JSON array"
    for name in ("schema", "extra"):
        if values.get(name) is not None and not isinstance(values[name], dict):
            form.errors[name] = "must be a JSON object"
    if values.get("response_format") == "json_schema" and values.get("schema") is None:
        form.errors.setdefault("schema", "Enter the schema, or choose another format.")


def _named(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with the name that OpenAI's API asks for, unless it was typed with one."""
    if isinstance(schema.get("schema"), dict) and isinstance(schema.get("name"), str):
        return schema
    title = schema.get("title")
    name = "".join(character if character.isalnum() else "_" for character in str(title or ""))
    return {"name": name[:_LONGEST_NAME] if name.isascii() and name else "answer", "schema": schema}
