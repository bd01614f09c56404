#!/usr/bin/env bash
# Prints the numbers the notes quote: machine, commit, sizes, boot, memory, write pauses.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(nproc) cores, $(awk -F: '/model name/ {print $2; exit}' /proc/cpuinfo | xargs)"
exec target/release/dstack-chaos bench --kills "${KILLS:-50}"
