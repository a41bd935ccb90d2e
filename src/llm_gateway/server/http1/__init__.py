"""The HTTP/1.1 protocol of the server: heads, limits, deadlines and exchanges."""
