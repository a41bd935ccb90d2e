"""How upstreams speak: pure translators, one file a kind, that do no I/O."""
