"""Pages of what admins manage: a list with a search, and forms; one module a resource."""
