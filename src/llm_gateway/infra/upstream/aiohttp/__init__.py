"""The upstream transport that uses aiohttp."""
