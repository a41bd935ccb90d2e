"""What a request used: the meter, token counts and estimates."""
