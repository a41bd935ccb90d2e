"""Files in which providers and others state costs: OpenAI's and Anthropic's cost reports, and FOCUS."""
