"""The paths of dgen-ping's API, which its routes, its documentation and `/info` name."""

from __future__ import annotations

from typing import Final

COMPLETION_PATH: Final = "/api/llm/completion"
CHAT_PATH: Final = "/api/llm/chat"
GENERATE_PATH: Final = "/generate-token"
VERIFY_PATH: Final = "/verify-token"
TELEMETRY_PATH: Final = "/telemetry"
INFO_PATH: Final = "/info"
