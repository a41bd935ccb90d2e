"""What we talk about: values and rules, with the standard library and msgspec only."""
