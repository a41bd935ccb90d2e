"""Keeps a secret from being shown by accident: in a log line, a traceback, or a repr."""

from __future__ import annotations


class Secret:
    """A string that only `reveal()` shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Hold `value`."""
        self._value = value

    def reveal(self) -> str:
        """Return the string itself: call this where it goes on the wire, nowhere else."""
        return self._value

    def __repr__(self) -> str:
        """Show nothing of the value, not even its length."""
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Two secrets are equal when their values are."""
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        """Hash by value, so that frozen values that hold a secret stay hashable."""
        return hash(self._value)
