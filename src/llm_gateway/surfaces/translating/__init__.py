"""What the surfaces share that translate: strict bodies in, the text of chat replies out."""
