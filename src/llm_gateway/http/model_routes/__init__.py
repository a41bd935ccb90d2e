"""The routes of models: from the head of a request to the last byte of its response."""
