"""The HTTP/1.1 client: messages, connections and the pool."""
