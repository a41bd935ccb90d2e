"""Prices that administrators set, and prices in force."""
