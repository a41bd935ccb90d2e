"""How operators change things: `/admin/v1`, one slice a noun, the same file names in each."""
