"""Google's generateContent API: replies, events, lists of models."""
