"""One request from start to finish: admission, attempts, recovery from failures, and the reply."""
