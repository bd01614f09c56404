#!/usr/bin/env bash
# Licences, bans and sources always; advisories where their database can be reached.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    echo "deny: installing cargo-deny" >&2
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 cargo install --locked --quiet cargo-deny
fi
cargo fetch --locked --quiet
cargo deny --locked --offline check licenses bans sources
if cargo deny fetch db >/dev/null 2>&1; then
    cargo deny --locked check advisories
else
    echo "deny: the advisory database cannot be reached from here; advisories were not checked" >&2
fi
