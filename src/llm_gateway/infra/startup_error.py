"""Names what an operator must mend before the gateway can start, apart from faults of ours."""

from __future__ import annotations


class StartupError(Exception):
    """The gateway cannot start like this; the message says which setting or file to mend, and how.

    It holds no secret, and is meant to be printed without a traceback.
    """
