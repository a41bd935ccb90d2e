"""The level of the log, while the gateway runs."""
