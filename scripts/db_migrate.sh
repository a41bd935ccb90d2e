#!/usr/bin/env bash
# Upgrade the database schema, print its version, or downgrade it by one version.
# DB_URL comes from the environment or .env; without it the database is the SQLite file in DATA_DIR.
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
