#!/usr/bin/env bash
# What end-to-end tests start: server, CLI and static agent of the dev profile, and the released client.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build-agent.sh debug
cargo build --locked -p dstack-cli -p dstack-node -p crusoe-sim --bins
scripts/pyclient.sh >/dev/null
