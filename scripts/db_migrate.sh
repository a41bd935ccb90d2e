#!/usr/bin/env bash
# Bring the database's schema up to date, show its version, or take one step back.
# DB_URL is read from the environment or .env; without it the SQLite file in DATA_DIR is meant.
# Usage: scripts/db_migrate.sh up|version|down
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
  up | version | down) ;;
  *)
    echo "usage: scripts/db_migrate.sh up|version|down" >&2
    exit 2
    ;;
esac
scripts/install.sh runtime
exec .venv/bin/llm-gateway migrate "$1"
