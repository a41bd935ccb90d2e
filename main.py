"""Runs `llm-gateway serve`, for deployments that start `python main.py`."""

from __future__ import annotations

import sys

try:
    from llm_gateway.cli import main
except ModuleNotFoundError as missing:
    sys.exit(
        f"The module {missing.name!r} is not installed in this Python. Run `make install` once, then "
        "`.venv/bin/python main.py` (or `make run`, which does both)."
    )

if __name__ == "__main__":
    sys.argv.insert(1, "serve")
    main()
