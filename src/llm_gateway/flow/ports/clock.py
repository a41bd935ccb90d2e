"""The clock port."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """A source of time that tests can replace."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""

    def unix_us(self) -> int:
        """Return Unix microseconds."""
