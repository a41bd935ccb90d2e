"""Which configuration is in force, and reading it again."""
