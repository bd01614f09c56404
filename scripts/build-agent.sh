#!/usr/bin/env bash
# Builds dstack-agent linked statically, so that it runs in any container image and on any Linux of
# this architecture.
#
#   scripts/build-agent.sh [release|debug]    -> target/<profile>/dstack-agent
#
# Only the agent's own crate gets the flag (`cargo rustc`): everything it depends on is the same as in
# a plain build, procedural macros stay loadable, and no second toolchain target has to be installed.
# A later plain `cargo build` of the whole workspace links it dynamically again; the copy in
# target/<profile>/static stays what it is, and tests upload that one.
set -euo pipefail

profile=${1:-release}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
args=()
case $profile in
    release) args+=(--release) ;;
    debug) ;;
    *) args+=(--profile "$profile") ;;
esac

cargo rustc --locked "${args[@]}" -p dstack-agent --bin dstack-agent -- -C target-feature=+crt-static

binary=${CARGO_TARGET_DIR:-target}/$profile/dstack-agent
# An interpreter in the program headers would mean that it needs the host's or the image's libc.
if readelf -lW "$binary" | grep -q INTERP; then
    echo "build-agent.sh: $binary is linked dynamically" >&2
    exit 1
fi
install -D "$binary" "${CARGO_TARGET_DIR:-target}/$profile/static/dstack-agent"
"$binary" --version
