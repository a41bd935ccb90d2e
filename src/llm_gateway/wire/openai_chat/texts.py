"""Finds the texts to count in chats, legacy completions and embeddings: requests, whole replies and chunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_gateway.wire.json_text import json_text

# OpenAI's published overheads of a chat: for each message, for a name, and for the start of the reply.
_PER_MESSAGE = 3
_PER_NAME = 1
_PER_REPLY = 3


def message_texts(messages: object) -> tuple[list[str], int]:
    """Return the texts of a chat's messages, and the tokens to add for what is not text."""
    texts: list[str] = []
    overhead = _PER_REPLY
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        overhead += _PER_MESSAGE
        if isinstance(message.get("name"), str):
            overhead += _PER_NAME
            texts.append(message["name"])
        if isinstance(message.get("role"), str):
            texts.append(message["role"])
        texts += _texts(message)
    return texts, overhead


def schema_texts(tools: object, functions: object, response_format: object) -> list[str]:
    """Return the JSON, without blanks, of what the model may call and of the schema that it has to follow.

    Providers write both into the prompt: some as they are, others in a language of their own of about that length.
    """
    schemas = [
        tool.get(tool["type"], tool) if isinstance(tool, dict) and isinstance(tool.get("type"), str) else tool
        for tool in (tools if isinstance(tools, list) else ())
    ]
    schemas += functions if isinstance(functions, list) else ()
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        schemas.append(response_format.get("json_schema", response_format))
    return [json_text(schema) for schema in schemas]


def prompt_texts(prompt: object) -> tuple[list[str], int]:
    """Return the texts of a prompt or input, and the count of tokens given as numbers.

    Legacy completions and embeddings take a text, several texts, token numbers, or several lists of these.
    """
    if isinstance(prompt, str):
        return [prompt], 0
    texts: list[str] = []
    tokens = 0
    for part in prompt if isinstance(prompt, list) else ():
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, list):
            tokens += len(part)
        elif isinstance(part, int):
            tokens += 1
    return texts, tokens


def choice_texts(replies: Iterable[object], part: str) -> list[str]:
    """Return one text for each choice and each kind of text in it, pieces joined."""
    pieces: dict[tuple[object, int], list[str]] = {}
    for reply in replies:
        choices = reply.get("choices") if isinstance(reply, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            message = choice.get(part)
            texts = _texts(message) if isinstance(message, dict) else []
            if isinstance(choice.get("text"), str):
                texts.append(choice["text"])
            for position, text in enumerate(texts):
                pieces.setdefault((str(choice.get("index")), position), []).append(text)
    return ["".join(parts) for parts in pieces.values()]


def _texts(message: dict[str, Any]) -> list[str]:
    """Return the texts of a message or delta, always in the same order; "" for each that is missing."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(map(_part_text, content))
    texts = [content, message.get("reasoning_content") or message.get("reasoning"), message.get("refusal")]
    calls = message.get("tool_calls")
    functions = (
        [call.get("function") or call.get("custom") for call in calls if isinstance(call, dict)]
        if isinstance(calls, list)
        else []
    )
    for function in (*functions, message.get("function_call")):
        if isinstance(function, dict):
            texts += [function.get("name"), function.get("arguments") or function.get("input")]
    return [text if isinstance(text, str) else "" for text in texts]


def _part_text(part: object) -> str:
    text = (part.get("text") or part.get("refusal")) if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""
