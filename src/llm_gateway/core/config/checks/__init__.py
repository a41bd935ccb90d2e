"""What is wrong with a catalog, and what is served in spite of that."""
