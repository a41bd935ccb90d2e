"""Applications that are imported and made at the first request for them, because their imports take long."""
