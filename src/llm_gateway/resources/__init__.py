"""The rows that admins manage, as the admin API and the console take and show them; one module a resource."""
