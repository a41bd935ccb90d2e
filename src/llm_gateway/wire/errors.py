"""What goes wrong when bytes are read."""

from __future__ import annotations


class BadReply(Exception):
    """A 2xx reply that cannot be read; the message is for the log and quotes nothing of the reply."""


class OversizedEvent(BadReply):
    """A stream with an event that is over a limit; the message says over which."""
