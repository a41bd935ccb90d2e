"""The history of the catalog's versions in the database."""
