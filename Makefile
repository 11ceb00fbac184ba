.DEFAULT_GOAL := help
KEYS = $(wildcard fixtures/*.json) fixtures/captured fixtures/native

.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*## .*/\1/p' $(MAKEFILE_LIST))

help: ## print this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

run: ## run the exporter with a simulated bridge, or with ARGS="--url http://..."
	cargo run -- $(or $(ARGS),--demo)

test: ## run the tests; needs a Rust toolchain and a C compiler
	cargo test

lint: ## check formatting, clippy, imports and, if they are installed, actionlint and cargo-deny
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	sh tests/tools/imports.sh
	sh tests/tools/lint.sh

doc: ## build the documentation of the code, with its map of modules
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

expositions: ## check the golden files with promtool and the official Python parser
	python3 tests/tools/expositions.py

readers: ## check what parsers, agents and other readers get; installs them from registries, and needs four of Debian's packages
	cargo build
	python3 tests/readers/readers.py target/debug/jitsiexporter

readers-all: ## the same, with OpenTelemetry, Telegraf and VictoriaMetrics, which take long to build
	cargo build
	READERS=all python3 tests/readers/readers.py target/debug/jitsiexporter

readers-table: ## run all readers and write the table of docs/scrapers.md
	cargo build
	READERS=all WRITE=1 python3 tests/readers/readers.py target/debug/jitsiexporter

findings: ## run every script of findings/; installs packages from registries
	for script in findings/*.sh; do echo "== $$script"; "$$script" || exit 1; done

e2e: ## let a real Prometheus scrape a fleet of exporters
	cargo build
	python3 tests/tools/e2e.py target/debug/jitsiexporter

web-config: ## check web configurations against node_exporter
	cargo build
	python3 tests/tools/web_config.py target/debug/jitsiexporter

keys: ## name the keys of a bridge that have no row: KEYS="reports, or folders with sources of a bridge"
	python3 tests/tools/keys.py $(KEYS)

rules: ## test alert and recording rules with promtool
	promtool check config deploy/prometheus/prometheus.yml
	promtool check rules deploy/prometheus/rules.yml deploy/prometheus/legacy.yml
	promtool test rules deploy/prometheus/tests/*.yml

autoscaling: ## calculate how many bridges the autoscalers keep in each of many fleets; needs promtool
	python3 deploy/kubernetes/autoscaling/check.py

observability: ## run every query of the dashboards and rules on a real Prometheus
	cargo build
	python3 deploy/prometheus/check/observability.py target/debug/jitsiexporter

grafana-schema: ## check the dashboards against Grafana's own types; needs npm
	python3 deploy/prometheus/check/schema.py

released: ## build a release archive for this machine and unpack it into target/released; needs musl-tools and llvm-tools
	DIST=target/released deploy/dist.sh $$(uname -m)
	tar --extract --gzip --file target/released/jitsiexporter_*.tar.gz --directory target/released --strip-components 1

bench: released ## measure the released binary beside nginx, the release before and PEER="command with {url} and {addr}"; needs nginx and wrk
	python3 benches/bench.py

bench-instructions: ## count instructions and allocations of a scrape, compare with benches/budgets.tsv; needs valgrind
	python3 benches/instructions.py

generate: ## update every file that is made from the code: manual page, completions, tables, expected output
	cargo run --example generate

package-tools: ## install the tools for the next targets (on Debian, as root)
	deploy/check/tools.sh dist $(if $(findstring armv7l,$(ARCH)),arm32) image deb files

dist: ## build static binaries for ARCH="x86_64 aarch64", and their profiles, into dist/; armv7l is 32-bit ARM
	deploy/dist.sh $(ARCH)

image: ## build the container image from dist/
	deploy/image.sh

deb: ## build the Debian packages for ARCH from dist/
	deploy/deb.sh $(ARCH)

sbom: ## write the SBOM of the binaries into dist/; installs cargo-cyclonedx
	deploy/check/tools.sh sbom
	deploy/sbom.sh

check-packages: ## install and start what is in dist/ as users do (as root)
	deploy/check/all.sh

check-reproducible: ## build again in another folder, from the same profile, and compare the bytes
	deploy/check/reproducible.sh

check-deploy: ## check manual page, completions, unit, Nix, crate, compose and Kubernetes files
	deploy/check/files.sh && deploy/check/compose.sh && python3 deploy/check/kubernetes.py

crate: ## build the crate as crates.io would
	deploy/publish.sh --dry-run

publish: ## publish the crate of a tagged commit
	deploy/publish.sh

fuzz: ## run each fuzz target for FUZZ_SECONDS (60); needs nightly Rust and cargo-fuzz
	fuzz/run

coverage: ## measure line coverage; needs cargo-llvm-cov
	cargo llvm-cov --no-report
	cargo llvm-cov report --show-missing-lines | sed -n '/^Uncovered/,$$p'
	cargo llvm-cov report --summary-only --fail-under-lines 95

mutants: ## check that the tests notice changes of the code, with cargo-mutants; takes hours
	cargo mutants

chaos: released ## run faults, misbehaving clients and name servers against the released binary; its memory must stay bounded
	JITSIEXPORTER_TEST_BINARY=$(CURDIR)/target/released/jitsiexporter cargo test --test chaos --test names -- --nocapture

soak: released ## scrape the released binary a million times, with faults; its memory must not grow
	JITSIEXPORTER_TEST_BINARY=$(CURDIR)/target/released/jitsiexporter cargo test --test soak -- --ignored --nocapture
