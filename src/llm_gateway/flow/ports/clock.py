"""Time, injected."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time, injected."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def unix_us(self) -> int:
        """Return Unix microseconds."""
