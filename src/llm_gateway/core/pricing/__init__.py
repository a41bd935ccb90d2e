"""Prices of models, and what a request costs: pure values and rules, in integer nano-USD."""
