"""Ready lines for clients: an address, a model, and a place for the key."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any, Final, NamedTuple

PLACEHOLDER: Final = "YOUR_KEY"
# Before there is a model.
ANY_MODEL: Final = "your-model"
_HELLO: Final = "Hello!"


class CodeBlock(NamedTuple):
    """Text to copy: what it is, or the file that it belongs in."""

    label: str
    text: str


class ClientSetup(NamedTuple):
    """One client, and what it needs to know."""

    id: str
    name: str
    blocks: tuple[CodeBlock, ...]
    note: str = ""


def clients(base_url: str, model: str) -> list[ClientSetup]:
    """Return the clients, for this address (with /v1) and this model."""
    return [make(base_url, model) for make in _CLIENTS]


def _text(value: str) -> str:
    """Return a string literal of JSON, Python, JavaScript, TOML and YAML alike."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _curl(base_url: str, model: str) -> ClientSetup:
    body = {"model": model, "messages": [{"role": "user", "content": _HELLO}], "stream": True}
    lines = (
        f"curl -N {shlex.quote(f'{base_url}/chat/completions')}",
        f"-H 'Authorization: Bearer {PLACEHOLDER}'",
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
    )
    return ClientSetup("curl", "curl", (CodeBlock("Shell", " \\\n  ".join(lines)),))


def _openai_python(base_url: str, model: str) -> ClientSetup:
    text = f"""\
from openai import OpenAI

client = OpenAI(base_url={_text(base_url)}, api_key="{PLACEHOLDER}")
reply = client.chat.completions.create(
    model={_text(model)},
    messages=[{{"role": "user", "content": "{_HELLO}"}}],
)
print(reply.choices[0].message.content)"""
    return ClientSetup("openai-python", "OpenAI SDK for Python", (CodeBlock("pip install openai", text),))


def _openai_js(base_url: str, model: str) -> ClientSetup:
    text = f"""\
import OpenAI from "openai";

const client = new OpenAI({{ baseURL: {_text(base_url)}, apiKey: "{PLACEHOLDER}" }});
const reply = await client.chat.completions.create({{
  model: {_text(model)},
  messages: [{{ role: "user", content: "{_HELLO}" }}],
}});
console.log(reply.choices[0].message.content);"""
    return ClientSetup("openai-js", "OpenAI SDK for JavaScript", (CodeBlock("npm install openai", text),))


def _langchain(base_url: str, model: str) -> ClientSetup:
    text = f"""\
from langchain_openai import ChatOpenAI

chat = ChatOpenAI(base_url={_text(base_url)}, api_key="{PLACEHOLDER}", model={_text(model)})
print(chat.invoke("{_HELLO}").content)"""
    return ClientSetup("langchain", "LangChain", (CodeBlock("pip install langchain-openai", text),))


def _llama_index(base_url: str, model: str) -> ClientSetup:
    text = f"""\
from llama_index.llms.openai_like import OpenAILike

chat = OpenAILike(
    api_base={_text(base_url)}, api_key="{PLACEHOLDER}", model={_text(model)}, is_chat_model=True
)
print(chat.complete("{_HELLO}"))"""
    return ClientSetup(
        "llama-index", "LlamaIndex", (CodeBlock("pip install llama-index-llms-openai-like", text),)
    )


def _litellm(base_url: str, model: str) -> ClientSetup:
    text = f"""\
import litellm

reply = litellm.completion(
    model={_text(f"openai/{model}")},
    api_base={_text(base_url)},
    api_key="{PLACEHOLDER}",
    messages=[{{"role": "user", "content": "{_HELLO}"}}],
)
print(reply.choices[0].message.content)"""
    return ClientSetup("litellm", "LiteLLM SDK", (CodeBlock("pip install litellm", text),))


def _vercel(base_url: str, model: str) -> ClientSetup:
    text = f"""\
import {{ createOpenAICompatible }} from "@ai-sdk/openai-compatible";
import {{ generateText }} from "ai";

const gateway = createOpenAICompatible({{
  name: "llm-gateway",
  baseURL: {_text(base_url)},
  apiKey: "{PLACEHOLDER}",
}});
const {{ text }} = await generateText({{ model: gateway({_text(model)}), prompt: "{_HELLO}" }});
console.log(text);"""
    return ClientSetup(
        "vercel", "Vercel AI SDK", (CodeBlock("npm install ai @ai-sdk/openai-compatible", text),)
    )


def _codex(base_url: str, model: str) -> ClientSetup:
    text = f"""\
model = {_text(model)}
model_provider = "llm-gateway"

[model_providers.llm-gateway]
name = "LLM gateway"
base_url = {_text(base_url)}
env_key = "LLM_GATEWAY_KEY"
wire_api = "responses\""""
    return ClientSetup(
        "codex",
        "Codex CLI",
        (
            CodeBlock("~/.codex/config.toml", text),
            CodeBlock("Shell", f"export LLM_GATEWAY_KEY={PLACEHOLDER}\ncodex"),
        ),
        "Codex uses /v1/responses, so the model must come from a provider that serves it.",
    )


def _opencode(base_url: str, model: str) -> ClientSetup:
    config: dict[str, Any] = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {
            "llm-gateway": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "LLM gateway",
                "options": {"baseURL": base_url, "apiKey": "{env:LLM_GATEWAY_KEY}"},
                "models": {model: {}},
            }
        },
    }
    text = json.dumps(config, indent=2, ensure_ascii=False)
    blocks = (
        CodeBlock("opencode.json", text),
        CodeBlock("Shell", f"export LLM_GATEWAY_KEY={PLACEHOLDER}\nopencode"),
    )
    return ClientSetup("opencode", "opencode", blocks)


def _continue(base_url: str, model: str) -> ClientSetup:
    text = f"""\
name: LLM gateway
version: 0.0.1
schema: v1
models:
  - name: {_text(f"{model} (gateway)")}
    provider: openai
    model: {_text(model)}
    apiBase: {_text(base_url)}
    apiKey: {PLACEHOLDER}"""
    return ClientSetup("continue", "Continue", (CodeBlock("~/.continue/config.yaml", text),))


def _cline(base_url: str, model: str) -> ClientSetup:
    text = f"API Provider: OpenAI Compatible\nBase URL: {base_url}\nAPI Key: {PLACEHOLDER}\nModel ID: {model}"
    return ClientSetup("cline", "Cline, Roo Code", (CodeBlock("Settings", text),))


def _aider(base_url: str, model: str) -> ClientSetup:
    lines = (
        f"export OPENAI_API_BASE={shlex.quote(base_url)}",
        f"export OPENAI_API_KEY={PLACEHOLDER}",
        f"aider --model {shlex.quote(f'openai/{model}')}",
    )
    return ClientSetup("aider", "aider", (CodeBlock("Shell", "\n".join(lines)),))


_CLIENTS: Final[tuple[Callable[[str, str], ClientSetup], ...]] = (
    _curl, _openai_python, _openai_js, _langchain, _llama_index, _litellm, _vercel, _codex, _opencode, _continue,
    _cline, _aider,
)  # fmt: skip
