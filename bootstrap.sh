#!/usr/bin/env bash
# Create the tool environment .venv and install a requirements file in it: bootstrap.sh PYTHON REQUIREMENTS
set -euo pipefail
python=$1 requirements=$2

say() { printf '%s\n' "$*" >&2; }

# The first lines of installed programs name their interpreter, and none can name one with a blank.
case $PWD in *[[:space:]]*) say "Move this folder to a path without blanks: $PWD"; exit 1 ;; esac

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  say "cachestack needs Python 3.11 or later, and '$python' is $("$python" --version 2>&1 || true)."
  say "Install one, and name it if it is not python3: make up PYTHON=python3.12"
  exit 1
}

# Debian and Ubuntu keep the part of Python that makes virtual environments in a package of its own.
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
    say 'Installing python3-venv ...'
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  else
    say "'$python' cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv"
    exit 1
  fi
fi

[ -x .venv/bin/pip ] || "$python" -m venv --clear .venv
say "Installing $requirements in .venv ..."
.venv/bin/pip install --quiet --no-compile --disable-pip-version-check --requirement "$requirements"
