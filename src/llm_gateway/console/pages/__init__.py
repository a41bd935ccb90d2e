"""Pages that one module makes."""
