#!/usr/bin/env bash
# Format, and fix what has a safe fix.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
.venv/bin/ruff format .
.venv/bin/ruff check --fix .
