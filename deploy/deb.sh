#!/bin/sh
# Builds the Debian packages from the binaries that deploy/dist.sh has built, into dist/. Needs cargo-deb.
#   deploy/deb.sh                 amd64 and arm64
#   deploy/deb.sh armv7l          armhf, after `deploy/dist.sh armv7l`
# Cargo.toml lists the contents of the package ([package.metadata.deb]). Two builds of one commit give the same bytes.
set -eu
cd "$(dirname "$0")/.."

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
# Where deploy/check/tools.sh puts cargo-deb.
PATH=$PATH:$PWD/target/tools/bin
for arch in ${*:-x86_64 aarch64}; do
    case $arch in
        x86_64 | aarch64) target=$arch-unknown-linux-musl ;;
        armv7l) target=armv7-unknown-linux-musleabihf ;;
        *) echo "deb: unknown architecture \"$arch\": use x86_64, aarch64 or armv7l" >&2; exit 2 ;;
    esac
    [ -e "dist/THIRD-PARTY-NOTICES" ] || { echo "deb: dist/ is empty; run deploy/dist.sh first" >&2; exit 1; }
    rm -rf dist/documents
    deploy/documents.py dist/documents
    # The binary is stripped already, by the toolchain of its architecture.
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/dist" \
        cargo deb --quiet --no-build --no-strip --target $target --output dist/
done
rm -rf dist/documents
cd dist
sha256sum jitsiexporter_* > SHA256SUMS
ls -l ./*.deb
