"""Anthropic's Messages API, spoken natively: what is sent, what comes back, and what each model takes."""
