"""Adapters of upstream APIs, one folder per dialect; they do no I/O."""
