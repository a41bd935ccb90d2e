"""Budgets of money."""
