#!/usr/bin/env bash
# Upstream's server 0.22.5 with SQLite beside one and three replicas of ours: latency, rate, memory.
# Prints a Markdown table; results as JSON with JSON=file. SECONDS_EACH sets the length of a measurement.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
exec target/release/dstack-chaos compare --venv "$(scripts/pyclient.sh --server)" \
    --seconds "${SECONDS_EACH:-5}" ${JSON:+--json "$JSON"}
