#!/usr/bin/env bash
# The dev-profile binaries that end-to-end tests start: server, CLI, and the static agent.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build-agent.sh debug
cargo build --locked -p dstack-cli -p dstack-node --bins
