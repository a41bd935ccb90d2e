#!/usr/bin/env bash
# Serve in the foreground. The server takes this process's place, so that signals reach it.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh runtime
exec .venv/bin/llm-gateway serve "$@"
