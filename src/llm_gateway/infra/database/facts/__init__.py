"""What all facts from the journal have in common, on their way into their tables and back."""
