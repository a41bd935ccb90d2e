"""A string that does not appear in logs, tracebacks or reprs by accident."""

from __future__ import annotations


class Secret:
    """A string that only `reveal()` returns."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the string. Call this only where the value itself is needed, such as on the wire."""
        return self._value

    def __repr__(self) -> str:
        """Hide the value and its length."""
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Compare by value."""
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        """Hash by value, so that frozen structs that contain a secret are hashable."""
        return hash(self._value)
