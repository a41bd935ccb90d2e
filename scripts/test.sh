#!/usr/bin/env bash
# All tests but the long ones. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
exec .venv/bin/python -m pytest "$@"
