"""What adapters of other dialects share: a chat read part by part, and OpenAI's replies written anew."""
