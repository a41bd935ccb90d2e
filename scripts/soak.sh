#!/usr/bin/env bash
# Run all tests at full size, which takes long. Arguments are passed to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
export SOAK=1
exec .venv/bin/python -m pytest -m "soak or not soak" --timeout=1800 "$@"
