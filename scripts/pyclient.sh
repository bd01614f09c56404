#!/usr/bin/env bash
# The released dstack client from PyPI in a virtual environment of its own, once per machine.
# Prints the folder; `bin/dstack` and `bin/python` are in it. With `--server`, the one that can
# also start upstream's server (for the bench).
set -euo pipefail

version=0.22.5
what="dstack==$version"
home="${XDG_CACHE_HOME:-$HOME/.cache}/dstack-pyclient/$version"
if [[ ${1:-} == --server ]]; then
    what="dstack[server]==$version"
    home="$home-server"
fi

if [[ ! -e "$home/complete" ]]; then
    mkdir -p "$(dirname "$home")"
    # Two tests may ask at once; the second waits and then finds it done.
    exec 9>"$(dirname "$home")/lock"
    flock 9
    if [[ ! -e "$home/complete" ]]; then
        echo "pyclient: installing $what from PyPI into $home" >&2
        rm -rf "$home"
        python3 -m venv "$home"
        "$home/bin/pip" install --quiet --disable-pip-version-check "$what" >&2
        touch "$home/complete"
    fi
fi
echo "$home"
