"""Protocols that `flow` needs from the outside world; `infra` implements them and tests replace them."""
