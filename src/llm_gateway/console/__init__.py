"""The web console: pages for admins and viewers, rendered on the server. ADR 17 says why."""
