"""Google's generateContent API, spoken for clients that speak OpenAI's chat completions."""
