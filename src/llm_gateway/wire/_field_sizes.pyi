import msgspec

def weighed(
    fields: dict[str, msgspec.Raw], kinds: dict[str, bool], most: int, factor: int, base: int, /
) -> int: ...
