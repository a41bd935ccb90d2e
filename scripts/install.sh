#!/usr/bin/env bash
# Make .venv hold exactly what requirements/<set>.txt pins, and this package; do nothing when it does already.
# Usage: scripts/install.sh [runtime|dev]
set -euo pipefail
cd "$(dirname "$0")/.."

readonly pins=${1:-runtime}
readonly requirements=requirements/$pins.txt
readonly stamps=.venv/.installed

say() { printf '%s\n' "$*" >&2; }

# What the environment depends on: the pins, the package's own metadata (not the settings of the developer's
# tools, which come last in pyproject.toml), and the place, because .venv cannot be moved.
wanted() {
  cksum <"requirements/$1.txt"
  sed '/^\[tool\.ruff\]/,$d' pyproject.toml | cksum
  pwd
}

is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' </dev/null >/dev/null 2>&1
}

# Built to be quick: with profile-guided optimisation, as python.org's and uv's are, or with the interpreter in the
# program itself, as Debian's is. pyenv's are neither by default, and the same gateway takes a fifth more processor
# time on them (docs/performance.md).
is_quick() {
  "$1" -c '
import ensurepip, sys, sysconfig, venv
from pathlib import Path
maps = Path("/proc/self/maps")
sys.exit(
    "--enable-optimizations" not in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    and (not maps.exists() or "libpython" in maps.read_text())
)' </dev/null >/dev/null 2>&1
}

# PYTHON when it is set, else the first on PATH that was built to be quick, else the first.
find_python() {
  local candidate path first=
  if [[ -n ${PYTHON:-} ]]; then
    is_new_enough "$PYTHON" && { echo "$PYTHON"; return; }
    say "PYTHON=$PYTHON is not a Python 3.11 or newer."
    return 1
  fi
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
    # Every one of that name: a version manager's shims come first on PATH and hide the system's.
    while read -r path; do
      # Not our own, which is about to be removed.
      [[ ${path%/*} -ef .venv/bin ]] && continue
      is_new_enough "$path" || continue
      is_quick "$path" && { echo "$path"; return; }
      first=${first:-$path}
    done < <(type -ap "$candidate")
  done
  if [[ -n $first ]]; then
    echo "$first"
    return
  fi
  say "No Python 3.11 or newer was found on PATH. Install one, or name it: make install PYTHON=/path/to/python3"
  return 1
}

make_environment() {
  local python
  python=$(find_python)
  say "Making .venv with $("$python" --version) ($python; PYTHON=... picks another)"
  rm -rf .venv
  if ! "$python" -m venv .venv >&2; then
    rm -rf .venv
    say "$python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"
    return 1
  fi
}

pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@" >&2; }

[[ -f $requirements ]] || { say "There is no $requirements; the sets are runtime and dev."; exit 2; }
if wanted "$pins" | cmp -s - "$stamps-$pins"; then
  exit 0
fi

# A half-made environment, or one whose Python is gone, is made anew.
if ! is_new_enough .venv/bin/python || ! pip --version >/dev/null 2>&1; then
  make_environment
fi
say "Installing $requirements into .venv"
rm -f "$stamps"-*
pip install --quiet --quiet --require-hashes -r "$requirements"
pip install --quiet --quiet --no-deps --no-build-isolation --editable .

# dev.txt holds all that runtime.txt does (a test keeps that so).
wanted runtime >"$stamps-runtime"
if [[ $pins == dev ]]; then
  wanted dev >"$stamps-dev"
fi
