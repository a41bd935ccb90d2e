"""The usage journal: append-only files, their reader, and the shipper that moves them into the database."""
