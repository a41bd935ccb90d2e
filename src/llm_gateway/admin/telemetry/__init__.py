"""Events that clients reported of themselves."""
