#!/bin/sh
# Builds the commit of this repository again, from the profiles in dist/, in another folder, with another target directory and another
# Cargo home, and compares the bytes with those in dist/.
#   deploy/check/reproducible.sh            the archive for x86_64
#   deploy/check/reproducible.sh aarch64    others
set -eu
cd "$(dirname "$0")/../.."
dist=$PWD/dist
cargo_home=${CARGO_HOME:-$HOME/.cargo}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet . "$work/somewhere else"
# Downloaded crates are reused, but unpacked again.
mkdir -p "$work/cargo/registry"
ln -s "$cargo_home/registry/index" "$cargo_home/registry/cache" "$work/cargo/registry/"
if [ -e "$cargo_home/config.toml" ]; then cp "$cargo_home/config.toml" "$work/cargo"; fi

# A clone has another origin.
REPOSITORY_ADDRESS=$(deploy/address.sh)
export REPOSITORY_ADDRESS
cd "$work/somewhere else"
CARGO_HOME=$work/cargo CARGO_TARGET_DIR=$work/target PROFILES=$dist deploy/dist.sh "${@:-x86_64}"
cd dist
for archive in *.tar.gz; do
    cmp "$archive" "$dist/$archive" || { echo "reproducible: FAILED: $archive differs" >&2; exit 1; }
    echo "reproducible: $archive: $(sha256sum "$archive" | cut -c 1-16)..., twice"
done
