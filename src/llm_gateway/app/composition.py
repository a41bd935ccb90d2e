"""The composition root: makes every part from the settings and puts them together; the only place that knows all."""

from __future__ import annotations
