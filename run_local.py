"""Runs the gateway for development at http://127.0.0.1:8001, where dgen-ping's clients look for it.

`HOST` and `PORT`, in the environment or in `.env`, say otherwise.
"""

from __future__ import annotations

import os
import sys

try:
    from dotenv import dotenv_values

    # What serves needs it, and it needs packages that this Python may lack.
    import llm_gateway.settings  # noqa: F401
    from llm_gateway.cli import main
except ModuleNotFoundError as missing:
    sys.exit(
        f"The module {missing.name!r} is not installed in this Python. Run `make install` once, then "
        "`.venv/bin/python run_local.py`."
    )

if __name__ == "__main__":
    given = {name.upper() for name in (*os.environ, *dotenv_values(".env"))}
    for name, value in {"HOST": "127.0.0.1", "PORT": "8001"}.items():
        if name not in given:
            os.environ[name] = value
    sys.argv.insert(1, "serve")
    main()
