#!/usr/bin/env bash
# Serve a simulated provider in the foreground: a first chat without any API key.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh runtime
exec .venv/bin/llm-gateway demo "$@"
