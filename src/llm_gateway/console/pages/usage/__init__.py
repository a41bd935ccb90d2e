"""Parts of the pages of requests: filter, timings, explanations."""
