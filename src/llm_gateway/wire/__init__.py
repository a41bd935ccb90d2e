"""Wire formats: pure codecs between bytes and values, one folder for each API."""
