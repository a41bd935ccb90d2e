"""Which models a chat can be sent to: those that are really served."""

from __future__ import annotations

from typing import Final

from llm_gateway.core.config.snapshot import Snapshot

MOST_MODELS: Final = 200
_CHAT: Final = "chat/completions"
# A name that providers of this kind know, for those that serve whatever name they are asked for.
_USUAL: Final = {"anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash"}
_USUAL_OTHERWISE: Final = "gpt-4o-mini"
# Models for other things than chats, by parts of their names.
_OTHER_USES: Final = ("embed", "rerank", "whisper", "tts", "moderation", "image")


def chat_models(snapshot: Snapshot | None, recent: str | None = None) -> list[str]:
    """Return models that take new chats; first `recent`, if it does."""
    if snapshot is None:
        return []
    found = [recent] if recent is not None and _takes_chats(snapshot, recent) else []
    found += [name for name in snapshot.explicit_models if _takes_chats(snapshot, name)]
    if not found:
        usual = [
            _USUAL.get(one.provider.provider_type, _USUAL_OTHERWISE) for one in snapshot.wildcard_providers
        ]
        found = [name for name in usual if _takes_chats(snapshot, name)]
    return list(dict.fromkeys(found))[:MOST_MODELS]


def _takes_chats(snapshot: Snapshot, model: str) -> bool:
    if any(part in model.lower() for part in _OTHER_USES):
        return False
    route = snapshot.route(model)
    return route is not None and any(_CHAT in one.endpoints for one in route.deployments)
