"""The database behind the ports: one set of tables and statements for PostgreSQL and SQLite."""
