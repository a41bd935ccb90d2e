"""What the overview shows: ranges of time, the report of one, and its charts."""
