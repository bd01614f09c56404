# The commands of the README. Each installs what it needs, or says exactly what to install.
SHELL := /bin/bash
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

setup: ## install or name the Debian packages needed, build RocksDB once per machine
	@scripts/setup.sh

build: setup ## three binaries in target/release
	cargo build --release --locked -p dstack-cli -p dstack-node
	scripts/build-agent.sh release

demo: build ## three replicas, two SSH hosts, a two-node task, and the leader killed while it runs
	cargo build --release --locked -p dstack-chaos
	target/release/dstack-chaos demo $(if $(DEMO_KEEP),--keep)

demo-crusoe: build ## a GPU cluster in a simulated cloud: made for one run, the leader killed meanwhile, then gone; needs root
	cargo build --release --locked -p dstack-chaos -p crusoe-sim
	target/release/dstack-chaos demo-crusoe

test: setup ## every test
	scripts/test.sh

chaos: setup ## the long form: real replicas and agents, killed for real, histories judged
	scripts/build-for-tests.sh
	cargo run --locked -p dstack-chaos -- run --seconds $(or $(SECONDS_EACH),60)
	cargo run --locked -p dstack-chaos -- clouds --rounds $(or $(ROUNDS),20) --seed $(or $(SEED),1)

bench: build ## memory, boot time, sizes and write pause over 50 leader kills
	cargo build --release --locked -p dstack-chaos
	bench/report.sh

compare: build ## upstream's server beside one and three replicas of ours: latency, rate, memory
	cargo build --release --locked -p dstack-chaos
	bench/compare.sh

lint: setup ## formatting, clippy with warnings denied, licences and bans
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	scripts/deny.sh

clean: ## remove build output (the machine's RocksDB cache stays)
	cargo clean

.PHONY: help setup build demo demo-crusoe test chaos bench compare lint clean
