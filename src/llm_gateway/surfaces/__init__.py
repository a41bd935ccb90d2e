"""How clients speak to the gateway: one dialect a room, each a thin translator over `flow`."""
