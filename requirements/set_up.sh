#!/bin/sh
# Makes the virtual environment $2 with Python $1 from the locks. Says what is missing, and how to get it.
set -eu
python=$1
venv=$2
command -v "$python" >/dev/null 2>&1 || python=python3
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
  echo "set-up: Python 3.11 is needed; on Debian 12: apt-get install python3.11 python3.11-venv" >&2
  exit 2
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  echo "set-up: Python's venv module is needed; on Debian 12: apt-get install python3.11-venv" >&2
  exit 2
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "set-up: installing the locked packages (about 5 GB, a few minutes)" >&2
pip="$venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps"
$pip --require-hashes -r requirements/portable.lock
$pip -r requirements/native.lock
$pip -r requirements/bench.lock
$pip setuptools wheel
$pip --no-build-isolation -e .
