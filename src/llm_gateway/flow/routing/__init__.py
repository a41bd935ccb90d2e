"""Which deployment serves a request: plans, the selector, and what is known of each deployment."""
