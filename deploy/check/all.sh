#!/bin/sh
# Installs and starts what is in dist/ as users do: the binaries of the archives, the image, the Debian package, the Ansible role.
# Follows every link of the documents in archives and packages.
# Needs root.
#   deploy/dist.sh && deploy/image.sh && deploy/deb.sh && deploy/check/all.sh
. "$(dirname "$0")/root.sh"

# Every link of the documents in a folder leads to a file or a heading in it, or to another host.
follow_links() { JITSIEXPORTER_TEST_DOCUMENTS=$1 quiet cargo test --quiet --test documents; }

workdir
(cd dist && sha256sum --quiet --check SHA256SUMS)
for archive in dist/jitsiexporter_*.tar.gz; do
    tar --extract --gzip --file "$archive" --directory "$work"
    folder=$work/$(basename "$archive" .tar.gz)
    arch=${folder##*_linux_}
    for file in README.md SECURITY.md LICENSE-MIT LICENSE-APACHE THIRD-PARTY-NOTICES deploy/grafana/jitsi-fleet.json; do
        [ -s "$folder/$file" ] || fail "$archive has no $file"
    done
    follow_links "$folder"
    [ "$arch" = armv7l ] || [ -s "${archive%.tar.gz}.profdata" ] || fail "$archive was built without a profile"
    size=$(stat -c %s "$folder/jitsiexporter")
    [ "$size" -le 3500000 ] || fail "the binary of $archive has $size bytes"
    # The binary is static and does not contain a path of the build machine.
    if grep -aqE "/root/|/home/|$PWD/" "$folder/jitsiexporter"; then fail "$archive contains a path of this machine"; fi
    if readelf --dynamic "$folder/jitsiexporter" | grep NEEDED; then fail "$archive is not static"; fi
    echo "archive: $arch: binary of $size bytes, archive of $(stat -c %s "$archive")"
    case $arch in
        "$(uname -m)") emulator= ;;
        armv*) emulator=qemu-arm-static ;;
        *) emulator=qemu-$arch-static ;;
    esac
    # shellcheck disable=SC2086
    quiet python3 deploy/check/smoke.py $emulator "$folder/jitsiexporter"
    echo "smoke: $arch: $(grep -c '^smoke:' "$work/log") checks; $(grep resident "$work/log" | sed 's/^smoke: //' | tr '\n' ';')"
done
for package in dist/jitsiexporter_*.deb; do
    dpkg-deb --extract "$package" "$work/$(basename "$package")"
    case $package in *_amd64.deb) arch=x86_64 ;; *_arm64.deb) arch=aarch64 ;; *_armhf.deb) arch=armv7l ;; esac
    # Archive and package must contain the same binary, so checks of the one hold for the other.
    cmp "$work/$(basename "$package")/usr/bin/jitsiexporter" "$work"/jitsiexporter_*_linux_$arch/jitsiexporter || fail "$package has another binary"
    follow_links "$work/$(basename "$package")/usr/share/doc/jitsiexporter"
    echo "package: $package: binary and documents of the archive"
done
python3 deploy/check/image.py
deploy/check/deb.sh
deploy/check/systemd.sh
deploy/check/ansible.sh
