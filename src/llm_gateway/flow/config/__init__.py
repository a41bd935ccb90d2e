"""Editing, loading and swapping the configuration."""
