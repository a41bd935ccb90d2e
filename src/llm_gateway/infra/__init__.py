"""The outside world: everything that opens a file, a socket or a connection, behind the ports of `flow`."""
