"""Serves the gateway, as `llm-gateway serve` does, for those who expect `python main.py`."""

from __future__ import annotations

import sys

try:
    from llm_gateway.cli import main
except ModuleNotFoundError as missing:
    sys.exit(
        f"This Python has no module {missing.name!r}. Run `make install` once, then `.venv/bin/python main.py` "
        "(or `make run`, which does both)."
    )

if __name__ == "__main__":
    sys.argv.insert(1, "serve")
    main()
