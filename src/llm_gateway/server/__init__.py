"""Serves the application over HTTP: connection rules, processes, signals; known to the command line alone."""
