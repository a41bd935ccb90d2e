"""What operators look at: health, metrics and the API's own documentation."""
