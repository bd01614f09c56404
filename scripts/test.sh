#!/usr/bin/env bash
# Every test of the workspace. End-to-end tests start the dev-profile binaries built first.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build-for-tests.sh
if ! cargo nextest --version >/dev/null 2>&1; then
    echo "test: installing cargo-nextest" >&2
    cargo install --locked --quiet cargo-nextest
fi
cargo nextest run --workspace --locked --no-fail-fast "$@"
