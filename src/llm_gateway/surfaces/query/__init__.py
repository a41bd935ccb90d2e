"""The query gateway's API under /api and /v1/gateway: one query as text in, one answer as text out."""
