"""What the server and the calls to providers share about their connections."""
