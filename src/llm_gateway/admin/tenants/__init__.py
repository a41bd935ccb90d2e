"""Tenants: whose the clients are."""
