#!/bin/sh
# Writes the SBOM of the released binaries into dist/, as CycloneDX: the crates that are linked into them, by version and licence.
# Needs cargo-cyclonedx, which deploy/check/tools.sh sbom installs. Two runs on one commit give the same bytes.
set -eu
cd "$(dirname "$0")/.."

name=jitsiexporter
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
PATH=$PATH:$PWD/target/tools/bin

[ -e dist/SHA256SUMS ] || { echo "sbom: dist/ is empty; run deploy/dist.sh first" >&2; exit 1; }
# The crates are the same on both architectures.
cargo cyclonedx --quiet --format json --spec-version 1.5 --target x86_64-unknown-linux-musl --no-build-deps \
    --override-filename "${name}_$version.cdx"
# The references contain the path of this machine.
sed "s#$PWD#/$name#g" "${name}_$version.cdx.json" > "dist/${name}_$version.cdx.json"
rm "${name}_$version.cdx.json"
cd dist
sha256sum ${name}_* > SHA256SUMS
ls -l "${name}_$version.cdx.json"
