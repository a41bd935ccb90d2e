"""Events that clients report of themselves, in the database."""
