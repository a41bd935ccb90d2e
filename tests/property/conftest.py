"""No test in this folder talks to a network."""

from tests.offline import _offline

__all__ = ["_offline"]
