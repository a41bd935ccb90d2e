#!/usr/bin/env bash
# Serve in the foreground. exec replaces this shell, so that signals reach the server.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh runtime
exec .venv/bin/llm-gateway serve "$@"
