"""Costs outside of requests: charges for exports, and comparisons with the bills of providers."""
