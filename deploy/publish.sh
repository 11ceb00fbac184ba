#!/bin/sh
# Publishes the crate. Writes the address of the repository into its manifest, so that crates.io can resolve the links of README.
#   deploy/publish.sh              publishes a tagged commit
#   deploy/publish.sh --dry-run    builds the crate as crates.io would
#   deploy/publish.sh --list       lists its files
set -eu
cd "$(dirname "$0")/.."

case "${1:-}" in
    "") [ -z "$(git status --porcelain)" ] || { echo "publish: the work tree has uncommitted changes" >&2; exit 1; } ;;
    --dry-run | --list) ;;
    *) echo "publish: unknown option \"$1\": use --dry-run or --list" >&2; exit 2 ;;
esac
address=$(deploy/address.sh)
if [ -n "$address" ]; then
    manifest=$(mktemp)
    cp -p Cargo.toml "$manifest"
    # Keeps the timestamp, by which Cargo detects changes.
    trap 'cp -p "$manifest" Cargo.toml; rm "$manifest"' EXIT
    sed "s|^readme = .*|&\nrepository = \"$address\"|" "$manifest" > Cargo.toml
elif [ -z "${1:-}" ]; then
    echo "publish: the address of the repository is not known; set REPOSITORY_ADDRESS" >&2
    exit 1
fi
case "${1:-}" in
    --list) cargo package --list --allow-dirty ;;
    *) cargo publish --locked --allow-dirty "$@" ;;
esac
