#!/bin/sh
# Builds the container image from the binaries in dist/ (deploy/dist.sh), with buildah, into dist/:
#   jitsiexporter_<version>_image.tar          all architectures (OCI archive): podman load, skopeo copy --all
#   jitsiexporter_<version>_image_<arch>.tar   one architecture: docker load
# Two builds from the same archives give the same bytes.
# Outside a git repository, set JITSIEXPORTER_COMMIT and SOURCE_DATE_EPOCH, as for deploy/dist.sh.
set -eu
cd "$(dirname "$0")/.."

name=jitsiexporter
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
commit=${JITSIEXPORTER_COMMIT:-$(git rev-parse HEAD)}
time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

work=$(mktemp -d)
# A separate storage folder leaves the images and containers of this machine alone.
storage() { buildah --root "$work/root" --runroot "$work/run" --storage-driver vfs "$@"; }
trap 'storage unmount --all >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

mkdir "$work/context"
for arch in x86_64 aarch64; do
    archive=dist/${name}_${version}_linux_$arch.tar.gz
    [ -e "$archive" ] || { echo "image: $archive is missing; deploy/dist.sh makes it" >&2; exit 1; }
    case $arch in x86_64) platform=amd64 ;; aarch64) platform=arm64 ;; esac
    layer=$work/context/$platform
    mkdir -p "$layer/licenses"
    folder=${name}_${version}_linux_$arch
    tar --extract --gzip --file "$archive" --directory "$layer" --strip-components 1 "$folder/$name"
    tar --extract --gzip --file "$archive" --directory "$layer/licenses" --strip-components 1 \
        "$folder/LICENSE-MIT" "$folder/LICENSE-APACHE" "$folder/THIRD-PARTY-NOTICES"
    ln -s $name "$layer/prometheus-jitsi-meet-exporter"

    storage build --quiet --isolation chroot --platform "linux/$platform" --timestamp "$time" --identity-label=false \
        --build-arg "TARGETARCH=$platform" --build-arg "VERSION=$version" --build-arg "REVISION=$commit" --file deploy/docker/Dockerfile.release \
        --tag "$name:$version-$platform" --manifest "$name:$version" "$work/context" >/dev/null
    rm -f "dist/${name}_${version}_image_$arch.tar"
    storage push --quiet "$name:$version-$platform" "docker-archive:dist/${name}_${version}_image_$arch.tar:$name:$version"
done
# An OCI archive is a tar of an OCI layout. buildah's own archives contain the time of the build, so tar makes it.
storage manifest push --quiet --all "$name:$version" "oci:$work/layout:$name:$version"
tar --create --directory "$work/layout" --format gnu --sort name --mtime "@$time" --owner 0 --group 0 --numeric-owner \
    --file "dist/${name}_${version}_image.tar" .
cd dist
sha256sum ${name}_* > SHA256SUMS
ls -l ${name}_"${version}"_image*.tar
