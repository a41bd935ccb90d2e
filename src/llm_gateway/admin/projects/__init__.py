"""Projects, which credentials are used for."""
