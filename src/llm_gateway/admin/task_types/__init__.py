"""Tasks, and the models that do them."""
