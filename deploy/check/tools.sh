#!/bin/sh
# Installs the tools that build and check the packages, on Debian. Needs root if a Debian package is missing.
#   deploy/check/tools.sh dist image deb files
# Tools that Debian lacks or has in an old version are installed in target/tools.
set -eu
cd "$(dirname "$0")/../.."

CARGO_DEB=3.8.0
CARGO_CYCLONEDX=0.5.9

# debian COMMAND PACKAGE...: installs the packages unless the command exists.
debian() {
    command=$1
    shift
    if ! command -v "$command" >/dev/null; then
        missing="${missing:-} $*"
    fi
}

# On Debian, Python needs this package to create virtual environments.
venv() { python3 -c 'import ensurepip' 2>/dev/null || missing="${missing:-} python3 python3-venv"; }

for part in "$@"; do
    case $part in
        dist)
            debian musl-gcc musl-tools
            debian aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
            debian qemu-aarch64-static qemu-user-static
            debian python3 python3
            debian openssl openssl
            debian readelf binutils
            targets="${targets:-} x86_64-unknown-linux-musl aarch64-unknown-linux-musl"
            component=llvm-tools
            ;;
        arm32)
            debian arm-linux-gnueabihf-gcc gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
            debian qemu-arm-static qemu-user-static
            targets="${targets:-} armv7-unknown-linux-musleabihf"
            ;;
        sbom) command -v cargo-cyclonedx >/dev/null || [ -x target/tools/bin/cargo-cyclonedx ] || cargo_cyclonedx=yes ;;
        image)
            debian buildah buildah
            debian ip iproute2
            debian python3 python3
            ;;
        deb)
            debian lintian lintian
            debian systemd-analyze systemd
            debian systemd-nspawn systemd-container
            debian ip iproute2
            venv
            command -v cargo-deb >/dev/null || [ -x target/tools/bin/cargo-deb ] || cargo_deb=yes
            ;;
        debootstrap) debian mmdebstrap mmdebstrap ;;
        files)
            debian mandoc mandoc
            debian man man-db
            debian zsh zsh
            debian fish fish
            debian systemd-analyze systemd
            debian node nodejs npm
            debian jq jq
            debian curl curl
            debian openssl openssl
            debian promtool prometheus
            debian nix-instantiate nix-bin
            debian go golang-go
            venv
            ;;
        *) echo "tools: unknown part \"$part\": use dist, arm32, image, deb, sbom, debootstrap or files" >&2; exit 2 ;;
    esac
done

if [ -n "${missing:-}" ]; then
    echo "tools: installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
if [ -n "${targets:-}" ]; then
    # shellcheck disable=SC2086
    rustup --quiet target add $targets
fi
if [ -n "${component:-}" ]; then rustup --quiet component add $component; fi
# Unoptimised, because these run rarely and compile in every fresh clone.
tool() { cargo install --quiet --locked --debug --root target/tools --target-dir target/tools/build "$1"; }
if [ -n "${cargo_deb:-}" ]; then tool cargo-deb@$CARGO_DEB; fi
if [ -n "${cargo_cyclonedx:-}" ]; then tool cargo-cyclonedx@$CARGO_CYCLONEDX; fi
rm -rf target/tools/build
