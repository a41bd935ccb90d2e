#!/usr/bin/env bash
# Remove .venv and everything that the tools generate; keep ./data.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis htmlcov build dist
rm -f .coverage .coverage.*
find src tests benchmarks scripts examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
