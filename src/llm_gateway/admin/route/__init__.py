"""What would become of a request, and why."""
