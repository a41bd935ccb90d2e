"""Cached replies: keys, stored entries, and the store with single flight."""
