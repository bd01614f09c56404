#!/usr/bin/env bash
# Makes a fresh Debian machine ready to build: packages, then RocksDB once per machine.
# As root it installs what is missing; as anybody else it names it and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # need <test command> <package>
    if ! eval "$1" >/dev/null 2>&1; then missing+=("$2"); fi
}
need 'command -v clang++' clang
need 'ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/x86_64-linux-gnu/libclang*.so*' libclang-dev
need 'command -v cc' gcc
need 'command -v ssh' openssh-client
need 'test -x /usr/sbin/sshd' openssh-server
need 'command -v rsync' rsync
need 'python3 -c "import ensurepip, venv"' python3-venv

if ((${#missing[@]})); then
    install="apt-get install -y --no-install-recommends ${missing[*]}"
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        echo "setup: installing ${missing[*]}" >&2
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive $install -qq >&2
    else
        echo "setup: these packages are missing: ${missing[*]}" >&2
        echo "setup: install them with: sudo $install" >&2
        exit 1
    fi
fi

scripts/rocksdb.sh >/dev/null
