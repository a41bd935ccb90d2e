"""Usage rows: a list with filters, its export, and everything that is known of one request."""
