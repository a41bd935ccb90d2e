#!/usr/bin/env bash
# All tests at full size; takes long. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
export SOAK=1
exec .venv/bin/python -m pytest -m "soak or not soak" --timeout=1800 "$@"
