"""The texts that `serve` and `demo` print at a first start; every command in them works as printed."""

from __future__ import annotations

import shlex
from pathlib import Path

_FIRST_STEPS = """
No provider is configured yet. Three commands lead to a first chat{key_place}:

# 1. Add a provider: any OpenAI-compatible API. Insert your own API key.
curl {url}/admin/v1/providers \\
  -H "Authorization: Bearer {admin_key}" -H "Content-Type: application/json" \\
  -d '{{"provider_key": "openai", "provider_type": "openai", "api_base": "https://api.openai.com/v1",
       "api_key": "sk-your-key-at-the-provider"}}'

# 2. Add a credential: the key that your clients send. This one was generated just now.
curl {url}/admin/v1/credentials \\
  -H "Authorization: Bearer {admin_key}" -H "Content-Type: application/json" \\
  -d '{{"name": "me", "key": "{key}"}}'

# 3. Send a first chat.
curl {url}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
  -d '{{"model": "gpt-4o-mini", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

{console}API documentation: {url}/docs
"""

_DEMO = """
The demo serves the model {model!r} at {url}
with the key {key}

# Stream a chat:
curl -N {url}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

# The same with the OpenAI SDK (pip install openai):
from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key="{key}")
messages = [{{"role": "user", "content": "Hello!"}}]
for chunk in client.chat.completions.create(model="{model}", messages=messages, stream=True):
    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)

The replies are simulated: no provider is called. Run `make run` (`llm-gateway serve`) for the real gateway.
{console}API documentation: {url}/docs
"""


# Signing in to the console needs the admin key.
_CONSOLE = "Console: {url}/console (sign in with {admin_key})\n"


def first_steps(url: str, admin_key_path: Path | None, key: str, *, has_console: bool) -> str:
    """Return the commands from an empty catalog to a first chat, with `key` as the client's key.

    `admin_key_path` is None when the admin key comes from ADMIN_KEY.
    """
    if admin_key_path is None:
        admin_key, place = "$ADMIN_KEY", " (ADMIN_KEY is the admin key)"
    else:
        admin_key, place = (
            f"$(cat {shlex.quote(str(admin_key_path))})",
            f" (the admin key is in {admin_key_path})",
        )
    console = _console(url, admin_key_path) if has_console else ""
    return _FIRST_STEPS.format(url=url, admin_key=admin_key, key_place=place, key=key, console=console)


def demo_welcome(url: str, admin_key_path: Path | None, key: str, model: str, *, has_console: bool) -> str:
    """Return the commands for a chat with the demo."""
    console = _console(url, admin_key_path) if has_console else ""
    return _DEMO.format(url=url, key=key, model=model, console=console)


def _console(url: str, admin_key_path: Path | None) -> str:
    place = "ADMIN_KEY" if admin_key_path is None else f"the key in {admin_key_path}"
    return _CONSOLE.format(url=url, admin_key=place)
