#!/usr/bin/env bash
# Check types with mypy in strict mode.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
.venv/bin/mypy
