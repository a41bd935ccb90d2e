"""Shared by the adapters that translate: handling of unsupported fields, and the base of their stream readers."""
