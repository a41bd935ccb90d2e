"""Codec for Google's generateContent API: replies, stream events and lists of models."""
