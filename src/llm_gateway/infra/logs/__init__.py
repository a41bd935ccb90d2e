"""The access log and the event log."""
