"""Where usage records wait in a second database while the first one does not take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class BackedUpFact(NamedTuple):
    """A line of the journal in the backup; `number` is its own forever."""

    number: int
    fact: bytes


class UsageBackup(Protocol):
    """Lines of the journals of this machine and of others, until they are removed. All calls may raise anything.

    A line is added again when nobody knows whether it was stored: the usage store recognises it.
    """

    async def add(self, facts: Sequence[bytes]) -> None:
        """Keep all of `facts` or, when it raises, none of them or all."""

    async def oldest(self, limit: int) -> list[BackedUpFact]:
        """Return the oldest lines of this machine, in the order in which they came."""

    async def oldest_of_others(self, limit: int) -> list[BackedUpFact]:
        """Return the oldest lines that another machine has left for so long that it seems to be gone."""

    async def remove(self, numbers: Sequence[int]) -> None:
        """Forget these lines; some may be gone already."""

    async def count(self) -> int:
        """Return how many lines there are, of all machines."""
