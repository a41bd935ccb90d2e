"""Secrets at rest: encryption, the keyed hash of client keys, environment references and key files."""
