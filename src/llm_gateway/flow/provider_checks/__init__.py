"""Health probes, and the tests that an admin starts."""
