"""Configuration files as rows of the catalog, and back: pure translation, no I/O."""
