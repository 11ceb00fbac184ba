#!/bin/sh
# Lints what needs more than a Rust toolchain: the workflows with actionlint, the dependencies with cargo-deny. A linter that is
# not installed is skipped with a message; the workflows run all of them. Also checks the form of findings.
set -eu
cd "$(dirname "$0")/../.."

ACTIONLINT=github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
PATH=$PATH:$PWD/target/tools/bin

skip() { echo "lint: skipped $*" >&2; }

if command -v actionlint >/dev/null; then
    actionlint .github/workflows/*.yml
elif command -v go >/dev/null && go run "$ACTIONLINT" --version >/dev/null 2>&1; then
    go run "$ACTIONLINT" .github/workflows/*.yml
else
    skip "the workflows: neither actionlint is installed nor a Go that can build it"
fi

if command -v cargo-deny >/dev/null; then
    cargo deny --log-level error check bans licenses sources
    if cargo deny --log-level error fetch db >/dev/null 2>&1; then
        cargo deny --log-level error check advisories
    else
        skip "the advisories: the database cannot be downloaded"
    fi
else
    skip "the dependencies: cargo-deny is not installed (cargo install --locked cargo-deny)"
fi

for finding in findings/*.sh; do
    for words in "# One would guess" "# What happens:" "# Who meets it:" "mktemp -d"; do
        grep -q "$words" "$finding" || { echo "lint: $finding does not say: $words" >&2; exit 1; }
    done
    grep -q "($(basename "$finding"))" findings/README.md || { echo "lint: findings/README.md does not list $finding" >&2; exit 1; }
    [ -x "$finding" ] || { echo "lint: $finding is not executable" >&2; exit 1; }
done
