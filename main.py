"""Runs `llm-gateway serve`, for deployments that start `python main.py`."""

from __future__ import annotations

import sys
from pathlib import Path

# After `pip install -r requirements.txt` alone, the gateway itself is not installed. An installed one comes first.
sys.path.append(str(Path(__file__).parent / "src"))

try:
    # What serves needs it, and it needs packages that this Python may lack.
    import llm_gateway.settings  # noqa: F401
    from llm_gateway.cli import main
except ModuleNotFoundError as missing:
    sys.exit(
        f"The module {missing.name!r} is not installed in this Python. Run `make install` once, then "
        "`.venv/bin/python main.py` (or `make run`, which does both); or `pip install -r requirements.txt`."
    )

if __name__ == "__main__":
    sys.argv.insert(1, "serve")
    main()
