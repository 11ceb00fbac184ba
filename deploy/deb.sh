#!/bin/sh
# Builds the Debian packages from the archives in dist/ (deploy/dist.sh), into dist/. Needs cargo-deb.
#   deploy/deb.sh                 amd64 and arm64
#   deploy/deb.sh armv7l          armhf, after `deploy/dist.sh armv7l`
# Cargo.toml lists the contents of the package ([package.metadata.deb]). Two builds from the same archives give the same
# bytes.
set -eu
cd "$(dirname "$0")/.."

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
target_dir=${CARGO_TARGET_DIR:-$PWD/target}/dist
# Where deploy/check/tools.sh puts cargo-deb.
PATH=$PATH:$PWD/target/tools/bin
for arch in ${*:-x86_64 aarch64}; do
    case $arch in
        x86_64 | aarch64) target=$arch-unknown-linux-musl ;;
        armv7l) target=armv7-unknown-linux-musleabihf ;;
        *) echo "deb: unknown architecture \"$arch\": use x86_64, aarch64 or armv7l" >&2; exit 2 ;;
    esac
    folder=jitsiexporter_${version}_linux_$arch
    [ -e "dist/$folder.tar.gz" ] || { echo "deb: dist/$folder.tar.gz is missing; deploy/dist.sh makes it" >&2; exit 1; }
    # cargo-deb takes the binary from the target directory, where that of a later build may be.
    mkdir -p "$target_dir/$target/release"
    tar --extract --gzip --file "dist/$folder.tar.gz" --directory "$target_dir/$target/release" --strip-components 1 "$folder/jitsiexporter"
    rm -rf dist/documents
    deploy/documents.py dist/documents
    # The binary is stripped already, by the toolchain of its architecture.
    CARGO_TARGET_DIR=$target_dir \
        cargo deb --quiet --no-build --no-strip --target $target --output dist/
done
rm -rf dist/documents
cd dist
sha256sum jitsiexporter_* > SHA256SUMS
ls -l ./*.deb
