# The targets are for people; what they call can be called as well.
.DEFAULT_GOAL := help
.PHONY: help run test lint doc expositions e2e rules observability grafana-schema released bench bench-instructions generate \
	package-tools dist image deb check-packages check-reproducible check-deploy crate fuzz coverage mutants chaos soak

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

expositions: ## golden files and the program, by promtool, the strict Python parser and an independent reading
	cargo build
	python3 tests/tools/expositions.py --binary target/debug/jitsiexporter

e2e: ## a real Prometheus scrapes a fleet of exporters
	cargo build
	python3 tests/tools/e2e.py --binary target/debug/jitsiexporter

rules: ## alert and recording rules by promtool
	promtool check config deploy/prometheus/prometheus.yml
	promtool check rules deploy/prometheus/rules.yml deploy/prometheus/legacy.yml
	promtool test rules deploy/prometheus/tests/*.yml

observability: ## every query of the dashboards and every rule, on a real Prometheus
	cargo build
	python3 tests/tools/observability.py target/debug/jitsiexporter

grafana-schema: ## the dashboards against Grafana's own types; needs npm
	python3 tests/tools/observability_schema.py

released: ## the static binary for this machine, out of a release archive, in target/released
	DIST=target/released deploy/dist.sh $$(uname -m)
	tar --extract --gzip --file target/released/jitsiexporter_*.tar.gz --directory target/released --strip-components 1

bench: released ## measure the released binary beside nginx and PEER="command with {url} and {addr}"; needs nginx and wrk
	python3 benches/bench.py

bench-instructions: ## instructions and allocations of a scrape, held to benches/budgets.tsv; needs valgrind
	python3 benches/instructions.py

generate: ## update every file that is made from the code: manual page, completions, tables, expected output
	cargo run --example generate

package-tools: ## install what the targets below need (Debian, root)
	tests/tools/package_tools.sh dist image deb files

dist: ## static binaries for x86_64 and aarch64, in dist/
	deploy/dist.sh

image: ## the container image, from dist/
	deploy/image.sh

deb: ## the Debian packages, from dist/
	deploy/deb.sh

check-packages: ## start what is in dist/ as its users do (root)
	tests/tools/package_check.sh

check-reproducible: ## build once more elsewhere: the same bytes
	tests/tools/package_reproducible.sh

check-deploy: ## man page, completions, unit, Nix, crate, compose, Kubernetes
	tests/tools/package_files.sh && tests/tools/package_compose.sh && python3 tests/tools/package_kubernetes.py

crate: ## what crates.io would get
	cargo publish --dry-run

fuzz: ## each fuzz target for FUZZ_SECONDS (60); needs nightly Rust and cargo-fuzz
	fuzz/run

coverage: ## which lines the tests run through; needs cargo-llvm-cov
	cargo llvm-cov --no-report
	cargo llvm-cov report --show-missing-lines | sed -n '/^Uncovered/,$$p'
	cargo llvm-cov report --summary-only --fail-under-lines 95

# The second run tries what the first missed with the one test that takes half a minute.
mutants: ## break the code in every way that cargo-mutants knows: does a test fail? takes hours
	cargo mutants -- -- --skip connections_to_the_bridge_are_kept || cargo mutants --iterate

chaos: released ## faults and misbehaving clients against the released binary, whose memory is bounded
	JITSIEXPORTER_TEST_BINARY=$(CURDIR)/target/released/jitsiexporter cargo test --test chaos -- --nocapture

soak: released ## a million scrapes with faults of the released binary: memory must not grow
	JITSIEXPORTER_TEST_BINARY=$(CURDIR)/target/released/jitsiexporter cargo test --release --test soak -- --ignored --nocapture
