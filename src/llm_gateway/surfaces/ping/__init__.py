"""dgen-ping's API: completions and chats with tokens of its own, and telemetry that clients report."""
