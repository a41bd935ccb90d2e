"""The catalog tables: reading, writing, sealing, and following changes."""
