#!/bin/sh
# Installs and starts what is in dist/ as users do: the binaries of the archives, the image, the Debian package, the Ansible role.
# Needs root.
#   deploy/dist.sh && deploy/image.sh && deploy/deb.sh && tests/tools/package_check.sh
set -eu
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd dist && sha256sum --quiet --check SHA256SUMS)
for archive in dist/jitsiexporter_*.tar.gz; do
    tar --extract --gzip --file "$archive" --directory "$work"
    folder=$work/$(basename "$archive" .tar.gz)
    arch=${folder##*_linux_}
    for file in README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE THIRD-PARTY-NOTICES; do
        [ -s "$folder/$file" ] || { echo "archive: FAILED: $archive has no $file" >&2; exit 1; }
    done
    size=$(stat -c %s "$folder/jitsiexporter")
    [ "$size" -le 3500000 ] || { echo "archive: FAILED: the binary of $archive has $size bytes" >&2; exit 1; }
    # The binary has no path of the build machine in it and is static.
    if grep -aqE "/root/|/home/|$PWD/" "$folder/jitsiexporter"; then echo "archive: FAILED: $archive has a path in it" >&2; exit 1; fi
    if readelf --dynamic "$folder/jitsiexporter" | grep NEEDED; then echo "archive: FAILED: $archive is not static" >&2; exit 1; fi
    echo "archive: $arch: binary of $size bytes, archive of $(stat -c %s "$archive")"
    case $arch in
        "$(uname -m)") emulator= ;;
        armv*) emulator=qemu-arm-static ;;
        *) emulator=qemu-$arch-static ;;
    esac
    # shellcheck disable=SC2086
    python3 tests/tools/package_smoke.py $emulator "$folder/jitsiexporter" >"$work/log" || { cat "$work/log"; exit 1; }
    echo "smoke: $arch: $(grep -c '^smoke:' "$work/log") checks; $(grep resident "$work/log" | sed 's/^smoke: //' | tr '\n' ';')"
done
python3 tests/tools/package_image.py
tests/tools/package_deb.sh
tests/tools/package_systemd.sh
tests/tools/package_ansible.sh
