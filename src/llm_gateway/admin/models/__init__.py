"""What is set for public models."""
