#!/bin/sh
# Builds the Debian packages from the binaries that deploy/dist.sh has just made, into dist/. Needs cargo-deb.
#   deploy/deb.sh                 amd64 and arm64
#   deploy/deb.sh armv7l          armhf, after `deploy/dist.sh armv7l`
# What is in the package is listed in Cargo.toml ([package.metadata.deb]). Two builds of one commit give the same bytes.
set -eu
cd "$(dirname "$0")/.."

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
# Where tests/tools/package_tools.sh puts cargo-deb.
PATH=$PATH:$PWD/target/tools/bin
for arch in ${*:-x86_64 aarch64}; do
    case $arch in
        x86_64 | aarch64) target=$arch-unknown-linux-musl ;;
        armv7l) target=armv7-unknown-linux-musleabihf ;;
        *) echo "deb: \"$arch\" is none of x86_64, aarch64, armv7l" >&2; exit 2 ;;
    esac
    [ -e "dist/THIRD-PARTY-NOTICES" ] || { echo "deb: there is nothing in dist/; deploy/dist.sh makes it" >&2; exit 1; }
    # The binary is stripped already, and by the toolchain that knows its architecture.
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/dist" \
        cargo deb --quiet --no-build --no-strip --target $target --output dist/
done
cd dist
sha256sum jitsiexporter_* > SHA256SUMS
ls -l ./*.deb
