# The targets are for people; what they call can be called as well.
.DEFAULT_GOAL := help
.PHONY: help run test lint doc

help: ## print the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

run: ## run the exporter: of a sample bridge, or make run ARGS="--url http://..."
	cargo run -- $(or $(ARGS),--demo)

test: ## the tests; needs a Rust toolchain only
	cargo test

lint: ## formatting, clippy, and one module for each package
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	sh tests/tools/imports.sh

doc: ## the documentation of the code, with the map of modules
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

expositions: ## golden files by promtool, the strict Python parser and an independent reading
	python3 tests/tools/expositions.py

e2e: ## a real Prometheus scrapes a fleet of exporters
	cargo build
	python3 tests/tools/e2e.py --binary target/debug/jitsiexporter
