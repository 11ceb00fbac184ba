#!/bin/sh
# Builds the static binaries of a release: one archive for each architecture, the alert rules and SHA256SUMS. The folder is emptied first.
#
#   deploy/dist.sh                      x86_64 and aarch64, into dist/
#   deploy/dist.sh armv7l               32-bit ARM (the names are those of `uname -m`)
#   DIST=folder deploy/dist.sh x86_64   into another folder
#
# Two builds of one commit by one toolchain give the same bytes, wherever the sources, the target directory and Cargo's home are.
# Needs Python, Rust 1.93 or later by rustup with the musl targets, musl-tools for x86_64, and a cross compiler for each of the others,
# because one dependency (ring) contains C code. The linker is the one that comes with Rust. deploy/check/tools.sh dist
# installs all this on Debian, and deploy/check/tools.sh arm32 what armv7l needs.
# Outside a git repository, set JITSIEXPORTER_COMMIT and SOURCE_DATE_EPOCH.
set -eu
cd "$(dirname "$0")/.."

name=jitsiexporter
dist=${DIST:-dist}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
target_dir=${CARGO_TARGET_DIR:-$PWD/target}/dist
cargo_home=${CARGO_HOME:-$HOME/.cargo}

JITSIEXPORTER_COMMIT=${JITSIEXPORTER_COMMIT:-$(git rev-parse HEAD)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export JITSIEXPORTER_COMMIT SOURCE_DATE_EPOCH
if [ -n "$(git status --porcelain 2>/dev/null)" ]; then
    echo "dist: the work tree has uncommitted changes; do not release this build" >&2
fi

rm -rf "$dist"
mkdir -p "$dist" "$target_dir"
# The loop below needs the folders into which the dependencies are unpacked.
cargo fetch --locked
deploy/notices.sh x86_64-unknown-linux-musl > "$dist/THIRD-PARTY-NOTICES"
for arch in ${*:-x86_64 aarch64}; do
    cflags= tools=dist
    case $arch in
        x86_64) target=x86_64-unknown-linux-musl cc=musl-gcc ;;
        aarch64) target=aarch64-unknown-linux-musl cc=aarch64-linux-gnu-gcc ;;
        armv7l) target=armv7-unknown-linux-musleabihf cc=arm-linux-gnueabihf-gcc tools=arm32 ;;
        *) echo "dist: unknown architecture \"$arch\": use x86_64, aarch64 or armv7l" >&2; exit 2 ;;
    esac
    command -v $cc >/dev/null || { echo "dist: $cc is missing; deploy/check/tools.sh $tools installs it" >&2; exit 1; }

    # Keep the paths of this machine out of the binary, those of Rust code and those of C code.
    flags="--remap-path-prefix=$PWD=/$name"
    flags="$flags$(printf '\037')--remap-path-prefix=$target_dir=/target"
    for registry in "$cargo_home"/registry/src/*; do
        flags="$flags$(printf '\037')--remap-path-prefix=$registry=/crates"
        cflags="$cflags -ffile-prefix-map=$registry=/crates"
    done
    cflags="$cflags -ffile-prefix-map=$target_dir=/target"
    # Merging identical functions and packing relocations makes the binary smaller.
    flags="$flags$(printf '\037')-Clink-arg=--icf=all$(printf '\037')-Clink-arg=--pack-dyn-relocs=relr"

    upper=$(echo $target | tr 'a-z-' 'A-Z_')
    lower=$(echo $target | tr - _)
    env CARGO_TARGET_DIR="$target_dir" CARGO_ENCODED_RUSTFLAGS="$flags" \
        "CARGO_TARGET_${upper}_LINKER=rust-lld" "CC_$lower=$cc" "CFLAGS_$lower=$cflags" \
        cargo build --release --locked --target $target

    # The archive: everything to install it by hand.
    folder=${name}_${version}_linux_$arch
    stage=$target_dir/$folder
    rm -rf "$stage"
    mkdir "$stage"
    cp "$target_dir/$target/release/$name" LICENSE-MIT LICENSE-APACHE "$dist/THIRD-PARTY-NOTICES" deploy/man/jitsiexporter.1 \
        deploy/systemd/jitsiexporter.service deploy/systemd/jitsiexporter.default deploy/systemd/web.yml "$stage"
    cp -r deploy/completions "$stage"
    deploy/documents.py "$stage"
    find "$stage" -exec chmod u=rwX,go=rX {} +
    tar --create --directory "$target_dir" --format gnu --sort name --mtime "@$SOURCE_DATE_EPOCH" \
        --owner 0 --group 0 --numeric-owner "$folder" | gzip --best --no-name > "$dist/$folder.tar.gz"
    rm -rf "$stage"
    echo "$dist/$folder.tar.gz: binary of $(stat -c %s "$target_dir/$target/release/$name") bytes"
done
deploy/prometheus/released.sh > "$dist/${name}_${version}_rules.yml"
cd "$dist"
sha256sum ${name}_* > SHA256SUMS
