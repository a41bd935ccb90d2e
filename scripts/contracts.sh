#!/usr/bin/env bash
# Check the import contracts (tool.importlinter in pyproject.toml).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
.venv/bin/lint-imports --no-cache
