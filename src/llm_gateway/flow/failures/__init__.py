"""What a failed attempt means: its cause, what follows it, and what the client is told, without secrets."""
