"""The usage tables: one row per request and one per attempt."""
