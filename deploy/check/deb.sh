#!/bin/sh
# Checks the Debian packages in dist/ with lintian, and installs, upgrades, removes and purges the one for this machine in a
# throw-away root. Needs root.
#   deploy/check/deb.sh                  on a copy of this machine's root (an overlay), which takes a second
#   deploy/check/deb.sh --debootstrap    on a fresh minimal Debian of this machine's release
. "$(dirname "$0")/root.sh"

if [ "${1:-}" != --inside ]; then
    arch=$(dpkg --print-architecture)
    set -- "${1:---overlay}" dist/jitsiexporter_*_"$arch".deb
    [ -e "$2" ] || fail "there is no package for $arch in dist/; deploy/deb.sh makes it"

    workdir
    # lintian leaves files in TMPDIR.
    TMPDIR=$work lintian --allow-root --tag-display-limit 0 --fail-on error,warning dist/jitsiexporter_*.deb
    echo "deb: lintian passes $(ls dist/jitsiexporter_*.deb | wc -l) packages"

    # The rest runs in its own namespaces. Its mounts and processes end with them.
    unshare --mount --propagation private --net --pid --fork --kill-child "$0" --inside "$1" "$2" "$work"
    exit
fi

kind=$2 package=$3 work=$4

ip link set lo up
root=$work/root
case $kind in
    --overlay) overlay ;;
    --debootstrap)
        mount -t tmpfs tmpfs "$work"
        # With systemd, as on the host of a bridge. mmdebstrap uses the package sources of this machine.
        codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
        mmdebstrap --quiet --variant=minbase --include=systemd "$codename" "$root"
        ;;
    *) fail "\"$kind\" is neither --overlay nor --debootstrap" ;;
esac
mount -t proc proc "$root/proc"
mkdir -p "$root/packages"
cp "$package" "$root/packages/new.deb"

# An earlier release to upgrade from: the same package with a lower version and another option file.
dpkg-deb -R "$package" "$work/old"
sed -i 's/^Version: .*/Version: 0.9.0-1/' "$work/old/DEBIAN/control"
echo "# as it was in 0.9.0" >>"$work/old/etc/default/jitsiexporter"
(cd "$work/old" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group --build "$work/old" "$root/packages/old.deb" >/dev/null

inside() {
    DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" "$@" 2>&1 | tee "$work/output"
    # A package script can print an error and still succeed, so the output is searched too.
    if grep -iE 'error|warning|failed|not found|cannot' "$work/output"; then fail "$* complains"; fi
}
# The folders in which the package could leave files. dpkg's own records are checked below; /run/systemd is systemd's, whose tools write
# there when they look at the unit.
listing() {
    chroot "$root" find /etc /usr/bin /usr/lib/systemd /usr/share /var/lib /run \
        \( -path /var/lib/dpkg -o -path /run/systemd \) -prune -o -print | sort
}
status() { chroot "$root" dpkg-query --show --showformat '${db:Status-Abbrev}${Version}' jitsiexporter 2>/dev/null || true; }
there() { [ -e "$root$1" ] || fail "$1 is not there after $2"; }
gone() { [ ! -e "$root$1" ] && [ ! -L "$root$1" ] || fail "$1 is there after $2"; }

options=/etc/default/jitsiexporter
web=/etc/jitsiexporter/web.yml
wanted=/etc/systemd/system/multi-user.target.wants/jitsiexporter.service

listing >"$work/before"
inside dpkg --install /packages/new.deb
there $options installing
[ "$(chroot "$root" stat -c '%a %U %G' $web)" = "640 root jitsiexporter" ] || fail "others can read $web"
[ -L "$root$wanted" ] || fail "the service is not enabled"
chroot "$root" jitsiexporter --version
chroot "$root" jitsiexporter --demo --once | grep -q '^jitsi_up 1$' || fail "it does not run"
# systemd knows every setting of the unit.
chroot "$root" systemd-analyze verify --man=no jitsiexporter.service 2>&1 | grep -i jitsiexporter && fail "systemd rejects the unit"
inside dpkg --purge jitsiexporter
listing >"$work/after"
diff "$work/before" "$work/after" || fail "the purge left files, or removed too many"
echo "deb: installed and purged"

inside dpkg --install /packages/old.deb
# An upgrade keeps files that a person has changed.
echo 'JITSIEXPORTER_LISTEN_ADDRESS=:9700' >>"$root$options"
echo 'basic_auth_users:' >>"$root$web"
chroot "$root" chmod 600 $web
inside dpkg --force-confold --install /packages/new.deb
grep -q '^JITSIEXPORTER_LISTEN_ADDRESS=:9700$' "$root$options" || fail "the upgrade changed the options"
[ "$(chroot "$root" stat -c '%a %G' $web) $(tail -n 1 "$root$web")" = "600 jitsiexporter basic_auth_users:" ] || fail "the upgrade changed $web"
case $(status) in "ii 0.9.0"* | "") fail "it was not upgraded: $(status)" ;; esac
# A service that was disabled stays disabled.
chroot "$root" systemctl disable jitsiexporter.service >/dev/null 2>&1
inside dpkg --force-confold --install /packages/new.deb
gone $wanted "installing once more"
inside dpkg --remove jitsiexporter
there $options removing
gone /usr/bin/jitsiexporter removing
inside dpkg --purge jitsiexporter
gone $options purging
gone $web purging
rm -f "$root$options.dpkg-dist" "$root$web.dpkg-dist"
rmdir "$root/etc/jitsiexporter" 2>/dev/null || true
listing >"$work/after"
diff "$work/before" "$work/after" || fail "the purge left files, or removed too many"
[ -z "$(status)" ] || [ "$(status)" = "un " ] || fail "dpkg still knows it: $(status)"
echo "deb: upgraded, removed and purged"
echo "deb: ok"
