#!/bin/sh
# Builds the static binaries of a release into dist/: one archive for each architecture, and SHA256SUMS. dist/ is laid anew.
#
#   deploy/dist.sh                      x86_64 and aarch64
#   deploy/dist.sh armv7l               32-bit ARM (the names are those of `uname -m`)
#
# Two builds of one commit by one toolchain give the same bytes, wherever the sources, the target directory and Cargo's home are.
# Needs: Rust 1.93 or later by rustup with the musl targets, musl-tools for x86_64, and a cross compiler for each of the others,
# because one dependency (ring) has C in it; the linker is the one that comes with Rust. tests/tools/package_tools.sh dist
# installs all that on Debian, and package_tools.sh arm32 what armv7l needs.
# Without a git repository the commit and its time are to be given: JITSIEXPORTER_COMMIT, SOURCE_DATE_EPOCH.
set -eu
cd "$(dirname "$0")/.."

name=jitsiexporter
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
target_dir=${CARGO_TARGET_DIR:-$PWD/target}/dist
cargo_home=${CARGO_HOME:-$HOME/.cargo}

JITSIEXPORTER_COMMIT=${JITSIEXPORTER_COMMIT:-$(git rev-parse HEAD)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export JITSIEXPORTER_COMMIT SOURCE_DATE_EPOCH
if [ -n "$(git status --porcelain 2>/dev/null)" ]; then
    echo "dist: the work tree has changes that are in no commit: fit for a try, not for a release" >&2
fi

rm -rf dist
mkdir -p dist "$target_dir"
# The sources of the dependencies must be there for their folders to be named below.
cargo fetch --locked
deploy/notices.sh x86_64-unknown-linux-musl > dist/THIRD-PARTY-NOTICES
for arch in ${*:-x86_64 aarch64}; do
    cflags=
    case $arch in
        x86_64) target=x86_64-unknown-linux-musl cc=musl-gcc ;;
        aarch64) target=aarch64-unknown-linux-musl cc=aarch64-linux-gnu-gcc ;;
        armv7l) target=armv7-unknown-linux-musleabihf cc=arm-linux-gnueabihf-gcc ;;
        *) echo "dist: \"$arch\" is none of x86_64, aarch64, armv7l" >&2; exit 2 ;;
    esac
    command -v $cc >/dev/null || { echo "dist: $cc is missing; tests/tools/package_tools.sh dist installs it" >&2; exit 1; }

    # No path of this machine may end up in the binary: neither by Rust nor by C.
    flags="--remap-path-prefix=$PWD=/$name"
    flags="$flags$(printf '\037')--remap-path-prefix=$target_dir=/target"
    for registry in "$cargo_home"/registry/src/*; do
        flags="$flags$(printf '\037')--remap-path-prefix=$registry=/crates"
        cflags="$cflags -ffile-prefix-map=$registry=/crates"
    done
    cflags="$cflags -ffile-prefix-map=$target_dir=/target"
    # Equal functions once only and packed relocations: 0.1 MB of 3.
    flags="$flags$(printf '\037')-Clink-arg=--icf=all$(printf '\037')-Clink-arg=--pack-dyn-relocs=relr"

    upper=$(echo $target | tr 'a-z-' 'A-Z_')
    lower=$(echo $target | tr - _)
    env CARGO_TARGET_DIR="$target_dir" CARGO_ENCODED_RUSTFLAGS="$flags" \
        "CARGO_TARGET_${upper}_LINKER=rust-lld" "CC_$lower=$cc" "CFLAGS_$lower=$cflags" \
        cargo build --release --locked --target $target

    # The archive: everything that belongs on a machine without a package manager.
    folder=${name}_${version}_linux_$arch
    stage=$target_dir/$folder
    rm -rf "$stage"
    mkdir -p "$stage"
    cp "$target_dir/$target/release/$name" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE \
        dist/THIRD-PARTY-NOTICES deploy/man/jitsiexporter.1 \
        deploy/systemd/jitsiexporter.service deploy/systemd/jitsiexporter.default "$stage"
    cp -r deploy/completions "$stage"
    find "$stage" -exec chmod u=rwX,go=rX {} +
    tar --create --directory "$target_dir" --format gnu --sort name --mtime "@$SOURCE_DATE_EPOCH" \
        --owner 0 --group 0 --numeric-owner "$folder" | gzip --best --no-name > "dist/$folder.tar.gz"
    rm -rf "$stage"
    echo "dist/$folder.tar.gz: binary of $(stat -c %s "$target_dir/$target/release/$name") bytes"
done
cd dist
sha256sum ${name}_*.tar.gz > SHA256SUMS
