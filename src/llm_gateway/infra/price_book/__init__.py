"""The price book that ships with the gateway: a data file that `make prices` writes."""
