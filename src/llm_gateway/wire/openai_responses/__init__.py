"""OpenAI's Responses API: responses, their events and usage."""
