"""The catalog's rows as an admin reads and changes them, one module a resource, and the store behind them."""
