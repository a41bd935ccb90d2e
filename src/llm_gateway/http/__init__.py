"""The ASGI pieces that every HTTP room shares."""
