"""Configuration values: the catalog, its validation, and the snapshot built from it."""
