#!/bin/sh
# Builds the static binaries of a release: one archive for each architecture, the alert rules and SHA256SUMS. The folder is emptied first.
#
#   deploy/dist.sh                      x86_64 and aarch64, into dist/
#   deploy/dist.sh armv7l               32-bit ARM (the names are those of `uname -m`)
#   DIST=folder deploy/dist.sh x86_64   into another folder
#   PROFILES=folder deploy/dist.sh      with the profiles of an earlier build; PROFILES=no builds without
#
# A binary is built twice. The first build counts how often each part of the code runs while deploy/train.py scrapes it. The second
# build, which ships, is optimised for this profile. The profile is kept beside the archive. armv7l has none, because Rust does not ship
# profiler_builtins for it.
#
# Two builds of one commit by one toolchain and from one profile give the same bytes, wherever the sources, the target directory and
# Cargo's home are.
# Needs Python, Rust 1.93 or later by rustup with the musl targets and llvm-tools, musl-tools for x86_64, and a cross compiler for each
# of the others, because one dependency (ring) contains C code. The training needs qemu for an architecture that this machine does not run.
# The linker is the one that comes with Rust. deploy/check/tools.sh dist installs all this on Debian, and deploy/check/tools.sh arm32 what
# armv7l needs.
# Outside a git repository, set JITSIEXPORTER_COMMIT and SOURCE_DATE_EPOCH.
set -eu
cd "$(dirname "$0")/.."

name=jitsiexporter
dist=${DIST:-dist}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
target_dir=${CARGO_TARGET_DIR:-$PWD/target}/dist
profiles=${PROFILES:-}
cargo_home=${CARGO_HOME:-$HOME/.cargo}

JITSIEXPORTER_COMMIT=${JITSIEXPORTER_COMMIT:-$(git rev-parse HEAD)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export JITSIEXPORTER_COMMIT SOURCE_DATE_EPOCH
if [ -n "$(git status --porcelain 2>/dev/null)" ]; then
    echo "dist: the work tree has uncommitted changes; do not release this build" >&2
fi

fail() {
    echo "dist: $1" >&2
    exit 1
}

# Sets the target, the compiler, the tools and the emulator of an architecture.
describe() {
    tools=dist emulator=qemu-$1-static
    case $1 in
        x86_64) target=x86_64-unknown-linux-musl cc=musl-gcc ;;
        aarch64) target=aarch64-unknown-linux-musl cc=aarch64-linux-gnu-gcc ;;
        armv7l) target=armv7-unknown-linux-musleabihf cc=arm-linux-gnueabihf-gcc tools=arm32 ;;
        *) echo "dist: unknown architecture \"$1\": use x86_64, aarch64 or armv7l" >&2; exit 2 ;;
    esac
    if [ "$1" = "$(uname -m)" ]; then emulator=; fi
}

# Look for what is missing before anything is removed.
profdata=$(rustc --print target-libdir)/../bin/llvm-profdata
for arch in ${*:-x86_64 aarch64}; do
    describe "$arch"
    command -v $cc >/dev/null || fail "$cc is missing; deploy/check/tools.sh $tools installs it"
    case $arch=$profiles in
        armv7l=* | *=no) ;;
        *=)
            [ -x "$profdata" ] || fail "llvm-profdata is missing: rustup component add llvm-tools, or PROFILES=no to build without a profile"
            [ -z "$emulator" ] || command -v "$emulator" >/dev/null || fail "$emulator is missing; deploy/check/tools.sh dist installs it"
            ;;
        *) [ -e "$profiles/${name}_${version}_linux_$arch.profdata" ] || fail "$profiles does not contain the profile for $arch" ;;
    esac
done
case $(realpath -m "${profiles:-/}")/ in "$(realpath -m "$dist")"/*) fail "PROFILES is in the folder that is emptied; copy the profiles first" ;; esac

rm -rf "$dist"
mkdir -p "$dist" "$target_dir"
dist=$(realpath "$dist")
# The loop below needs the folders into which the dependencies are unpacked.
cargo fetch --locked
deploy/notices.sh x86_64-unknown-linux-musl > "$dist/THIRD-PARTY-NOTICES"
for arch in ${*:-x86_64 aarch64}; do
    describe "$arch"
    cflags=
    folder=${name}_${version}_linux_$arch

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
    # build TARGET_DIR [FLAG]
    build() {
        env CARGO_TARGET_DIR="$1" CARGO_ENCODED_RUSTFLAGS="$flags${2:+$(printf '\037')}${2:-}" \
            "CARGO_TARGET_${upper}_LINKER=rust-lld" "CC_$lower=$cc" "CFLAGS_$lower=$cflags" \
            cargo build --release --locked --target $target
    }

    # The path of the profile is one of cargo's flags, so it does not depend on DIST. A file with the same content is not replaced, because
    # cargo would build everything again.
    profile=$target_dir/$arch.profdata
    case $arch=$profiles in
        armv7l=* | *=no) profile= ;;
        *=)
            rm -rf "$target_dir/counts"
            build "$target_dir/instrumented" "-Cprofile-generate=$target_dir/counts"
            LLVM_PROFILE_FILE=$target_dir/counts/%p.profraw deploy/train.py $emulator "$target_dir/instrumented/$target/release/$name"
            "$profdata" merge --output "$profile" "$target_dir"/counts/*.profraw
            ;;
        *) cmp -s "$profiles/$folder.profdata" "$profile" || cp "$profiles/$folder.profdata" "$profile" ;;
    esac
    build "$target_dir" ${profile:+"-Cprofile-use=$profile"}
    if [ -n "$profile" ]; then cp "$profile" "$dist/$folder.profdata"; fi

    # The archive: everything to install it by hand.
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
    echo "dist: $folder: binary of $(stat -c %s "$target_dir/$target/release/$name") bytes"
done
deploy/prometheus/released.sh > "$dist/${name}_${version}_rules.yml"
cd "$dist"
sha256sum ${name}_* > SHA256SUMS
