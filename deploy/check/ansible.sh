#!/bin/sh
# Lints the Ansible role and runs it in a throw-away copy of this machine's root, with the archive and with the package in dist/.
# Each is run three times: with --check on a new host, then twice; the last run must not change anything. Needs root, PyPI and the
# files that deploy/dist.sh and deploy/deb.sh make.
. "$(dirname "$0")/root.sh"

if [ "${1:-}" != --inside ]; then
    tools=$PWD/target/tools/python-ansible
    if [ ! -e "$tools/ok" ]; then
        rm -rf "$tools"
        python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet ansible-core==2.18.6 ansible-lint==25.6.1
        touch "$tools/ok"
    fi
    PATH=$tools/bin:$PATH
    export PATH ANSIBLE_NOCOWS=1 ANSIBLE_LOCALHOST_WARNING=False ANSIBLE_INVENTORY_UNPARSED_WARNING=False
    # A copy outside of the repository, because the linter looks for the root of a project.
    workdir
    mkdir -p "$work/lint/roles"
    cp deploy/ansible/playbook.yml "$work/lint"
    cp -r deploy/ansible/jitsiexporter "$work/lint/roles"
    (cd "$work/lint" && ansible-lint --offline --profile production --strict -q)
    echo "ansible: ansible-lint passes (profile production)"
    unshare --mount --propagation private --pid --fork --kill-child "$0" --inside "$work" "$tools"
    exit
fi

work=$2 tools=$3
overlay
mount -t proc proc "$work/root/proc"
mount --rbind /dev "$work/root/dev"
# An empty /run: nothing is booted in the copy, and Ansible looks there.
mount -t tmpfs tmpfs "$work/root/run"
mkdir "$work/root/play"
cp -r deploy/ansible/. dist "$work/root/play"

play() {
    quiet chroot "$work/root" sh -c 'cd /play && exec "$@"' - env ANSIBLE_ROLES_PATH=/play ANSIBLE_HOME=/play/home \
        "$tools/bin/ansible-playbook" -i localhost, -c local -e "ansible_python_interpreter=$tools/bin/python3" \
        -e jitsiexporter_from=/play/dist "$@" playbook.yml
    grep 'ok=' "$work/log"
}
unchanged() { grep -q 'changed=0 ' "$work/log" || { cat "$work/log" >&2; fail "the second run changes something"; }; }

options='{"jitsiexporter_options": {"listen_address": ":9888", "legacy_names": true, "url": "http://monitor:a\"b\\c$d@localhost:8080"}}'
web='{"jitsiexporter_web_config": {"basic_auth_users": {"prometheus": "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"}}}'
for install in archive package; do
    if [ $install = package ]; then
        rm -rf "$work/root/etc/systemd/system/jitsiexporter.service" "$work/root/etc/default/jitsiexporter" "$work/root/opt/jitsiexporter"
        # apt_pkg is a module of the system's Python.
        set -- -e jitsiexporter_install=package -e ansible_python_interpreter=/usr/bin/python3 -e "$options"
        chroot "$work/root" /usr/bin/python3 -c 'import apt' 2>/dev/null || { echo "ansible: skipped the package: python3-apt is not installed"; continue; }
    else
        set -- -e "$options"
    fi
    # The plan reaches its end and changes nothing.
    play --check "$@" -e "$web"
    grep -A 1 'TASK.*Start the service' "$work/log" | grep -q 'localhost' || fail "the plan has no end"
    [ "$(grep -c '^changed:' "$work/log")" -ge 8 ] || { cat "$work/log"; fail "the plan lacks tasks"; }
    for path in etc/default/jitsiexporter etc/systemd/system/jitsiexporter.service etc/jitsiexporter opt/jitsiexporter; do
        [ ! -e "$work/root/$path" ] || fail "--check makes /$path"
    done
    play "$@"
    play "$@"
    unchanged
    directory=/usr/local/bin
    [ $install = archive ] || directory=/usr/bin
    chroot "$work/root" $directory/jitsiexporter --version
    [ -L "$work/root/etc/systemd/system/multi-user.target.wants/jitsiexporter.service" ] || fail "the service is not enabled"
    # As systemd would read it.
    grep -qF 'JITSIEXPORTER_URL="http://monitor:a\"b\\c$d@localhost:8080"' "$work/root/etc/default/jitsiexporter" || fail "quoting"
    [ "$(stat -c %a "$work/root/etc/default/jitsiexporter")" = 600 ] || fail "others can read the options"
done
# A web configuration that only the service can read.
play -e "$web"
grep -qF 'X0h1gDsPszWURQaxFh' "$work/log" && fail "the hash is in the log"
play -e "$web"
unchanged
[ "$(chroot "$work/root" stat -c '%a %U %G' /etc/jitsiexporter/web.yml)" = "640 root jitsiexporter" ] || fail "others can read web.yml"
grep -qx 'JITSIEXPORTER_WEB_CONFIG_FILE=/etc/jitsiexporter/web.yml' "$work/root/etc/default/jitsiexporter" || fail "web.yml is not in use"
promtool check web-config "$work/root/etc/jitsiexporter/web.yml" || fail "promtool rejects web.yml"
# An unknown option is rejected.
if (play -e '{"jitsiexporter_options": {"listen": ":9700"}}') >/dev/null 2>&1; then fail "an unknown option is accepted"; fi
echo "ansible: ok"
