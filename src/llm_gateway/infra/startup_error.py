"""The error that an operator must fix before the gateway can start."""

from __future__ import annotations


class StartupError(Exception):
    """The gateway cannot start; the message says which setting or file to fix, and how.

    The message contains no secret, and is printed without a traceback.
    """
