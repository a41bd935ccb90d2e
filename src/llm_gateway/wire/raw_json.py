"""JSON that is carried without being decoded."""

from __future__ import annotations

import msgspec

# An object's fields in order, each value as the bytes it was written in.
JsonObject = dict[str, msgspec.Raw]
