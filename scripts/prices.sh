#!/usr/bin/env bash
# Compile the prices of the pinned genai-prices package into the price book that ships with the gateway.
# For newer prices, run `make lock` with a newer version of the package first.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
exec .venv/bin/python -m scripts.compile_prices "$@"
