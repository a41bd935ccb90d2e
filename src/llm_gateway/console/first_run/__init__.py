"""From an empty gateway to the first request: what is left to do, and how clients connect."""
