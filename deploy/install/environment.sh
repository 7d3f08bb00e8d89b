#!/bin/sh
# environment.sh DIRECTORY [PYTHON]: create a virtual environment with Python 3.10, 3.11 or 3.12.
#
# Without one of these on the PATH, uv brings 3.12. If uv is missing, a newer Python installs it
# into DIRECTORY-uv.
set -eu
directory=$1 python=${2:-}
known='import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))'
other="install Python 3.10, 3.11 or 3.12 (make PYTHON=/path/to/python names one that is not on the PATH)"

# Run a command that makes the environment. If it fails, its bin is removed: with a python but no
# pip in it, every later attempt would take the environment as made.
try() {
    trap 'rm -rf "$directory/bin"; exit 130' INT TERM
    "$@" >&2 || {
        rm -rf "$directory/bin"
        return 1
    }
}

if [ -z "$python" ]; then
    for name in python3.12 python3.11 python3.10 python3; do
        if command -v "$name" >/dev/null && "$name" -c "$known" 2>/dev/null; then
            python=$name
            break
        fi
    done
elif ! "$python" -c "$known" 2>/dev/null; then
    echo "$python is not Python 3.10, 3.11 or 3.12: name another in PYTHON=, or none to let make find one" >&2
    exit 2
fi
if [ -n "$python" ]; then
    echo "creating $directory with $python (once, some seconds) ..." >&2
    if try "$python" -m venv "$directory"; then
        exit 0
    fi
    echo "$python cannot create a virtual environment, for the reason above; on Debian and Ubuntu install its venv package, or $other" >&2
    exit 2
fi

uv=$(command -v uv || true)
if [ -z "$uv" ] && command -v python3 >/dev/null; then
    echo "no Python 3.10 to 3.12 here: installing uv, which brings one (once, 20 MB) ..." >&2
    if python3 -m venv "$directory-uv" >/dev/null 2>&1 &&
        "$directory-uv/bin/python" -m pip install --quiet --disable-pip-version-check uv >/dev/null 2>&1
    then
        uv=$directory-uv/bin/uv
    fi
fi
if [ -z "$uv" ]; then
    echo "Jangteo needs Python 3.10, 3.11 or 3.12, and there is none: $other, or install uv, which brings one" >&2
    exit 2
fi
echo "no Python 3.10 to 3.12 here: uv brings Python 3.12 (once, 35 MB) ..." >&2
# As pip does it: uv's own list of authorities lacks that of a proxy that opens TLS. Older releases
# of uv know the second name.
UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true} UV_NATIVE_TLS=${UV_NATIVE_TLS:-true}
export UV_SYSTEM_CERTS UV_NATIVE_TLS
if ! try "$uv" venv --seed --python 3.12 "$directory"; then
    echo "uv cannot bring Python 3.12, for the reason above: run again with a network, or $other" >&2
    exit 2
fi
