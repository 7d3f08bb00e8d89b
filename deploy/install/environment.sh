#!/bin/sh
# environment.sh DIRECTORY [PYTHON]: create a virtual environment with Python 3.10, 3.11 or 3.12.
#
# Without one of these on the PATH, uv brings 3.12. If uv is missing, a newer Python installs it
# into DIRECTORY-uv.
set -eu
directory=$1 python=${2:-}
known='import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))'

if [ -z "$python" ]; then
    for name in python3.12 python3.11 python3.10 python3; do
        if command -v "$name" >/dev/null && "$name" -c "$known" 2>/dev/null; then
            python=$name
            break
        fi
    done
fi
if [ -n "$python" ]; then
    echo "creating $directory with $python ..." >&2
    exec "$python" -m venv "$directory"
fi

uv=$(command -v uv || true)
if [ -z "$uv" ] && command -v python3 >/dev/null; then
    echo "no Python 3.10 to 3.12 here: installing uv, which brings one ..." >&2
    if python3 -m venv "$directory-uv" >/dev/null 2>&1 &&
        "$directory-uv/bin/python" -m pip install --quiet --disable-pip-version-check uv >/dev/null 2>&1
    then
        uv=$directory-uv/bin/uv
    fi
fi
if [ -n "$uv" ]; then
    echo "no Python 3.10 to 3.12 here: uv brings Python 3.12 (once) ..." >&2
    if "$uv" venv --quiet --seed --python 3.12 "$directory" >&2; then
        exit 0
    fi
fi
echo "Jangteo needs Python 3.10, 3.11 or 3.12: install one, or uv, which brings one; make PYTHON=/path/to/python names one that is not on the PATH" >&2
exit 2
