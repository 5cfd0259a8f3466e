#!/bin/sh
# Make .venv and install one hash-pinned lock and this project into it: with uv when it is there, else with pip.
# Usage: PYTHON=python3 tools/setup.sh LOCKFILE
set -eu

lock=$1
python=${PYTHON:-python3}

fail() {
    echo "set-up: $1" >&2
    exit 1
}

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
    fail "Python 3.11 to 3.13 is needed, $python is $("$python" --version 2>&1); name another: make PYTHON=python3.11 ..."

if command -v uv >/dev/null 2>&1; then
    echo "set-up: installing $lock into .venv with uv"
    uv venv --quiet --allow-existing --python "$python" .venv
    uv pip install --quiet --python .venv/bin/python --require-hashes --requirements "$lock"
    uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation \
        --config-settings editable_mode=compat --editable .
else
    echo "set-up: installing $lock into .venv with pip (uv would be quicker)"
    [ -x .venv/bin/pip ] || "$python" -m venv .venv ||
        fail "no virtual environment could be made; on Debian: apt-get install python3-venv, or install uv"
    pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }
    pip install --no-compile --require-hashes --requirement "$lock"
    pip install --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
fi

# Both leave the compiling to this line, which uses every core and passes by the packages' own tests. Some files are
# templates that are not Python: they don't count.
.venv/bin/python -m compileall -q -j 0 -x '/tests?/' .venv/lib >/dev/null 2>&1 || true
