"""Pages that are not about one resource of the catalog."""
