#!/bin/sh
# Boots systemd in a throw-away copy of this machine's root, installs the Debian package there and uses the service as people do,
# in its sandbox and as its own user. Needs root and systemd-nspawn.
. "$(dirname "$0")/root.sh"

if [ "${1:-}" != --inside ]; then
    package=$(ls dist/jitsiexporter_*_"$(dpkg --print-architecture)".deb)
    archive=$(ls dist/jitsiexporter_*_linux_"$(uname -m)".tar.gz)
    workdir
    # In a process namespace, so that no process outlives this script.
    timeout 120 unshare --mount --propagation private --pid --fork --kill-child --mount-proc "$0" --inside "$package" "$work" "$archive"
    exit
fi

package=$2 work=$3 archive=$4
root=$work/root
overlay
cp "$package" "$root/new.deb"
cp "$archive" "$root/opt"
: >"$root/etc/machine-id"
rm -f "$root/usr/sbin/policy-rc.d"

# Only basic.target is booted, so that none of this machine's services starts.
systemd-nspawn --quiet --directory "$root" --private-network --register=no --keep-unit --console=pipe --boot \
    systemd.unit=basic.target >"$work/console" 2>&1 </dev/null &
nspawn=$!
init=
for _ in $(seq 100); do
    init=$(cat "/proc/$nspawn/task/$nspawn/children" 2>/dev/null | cut -d ' ' -f 1)
    [ -z "$init" ] || case $(nsenter --target "$init" --all systemctl is-system-running 2>/dev/null) in running | degraded) break ;; esac
    kill -0 $nspawn 2>/dev/null || { cat "$work/console"; fail "it does not boot"; }
    sleep 0.2
done

# inside TEXT: a shell in there.
inside() { nsenter --target "$init" --all /bin/sh -c "$1"; }
property() { inside "systemctl show -P $1 jitsiexporter"; }
# soon WHAT COMMAND: waits until the command succeeds.
soon() {
    for _ in $(seq 100); do
        if inside "$2" >/dev/null 2>&1; then echo "systemd: $1"; return; fi
        sleep 0.2
    done
    inside 'systemctl status --no-pager jitsiexporter; journalctl --no-pager -n 20' || true
    fail "$1"
}

quiet inside 'dpkg --install /new.deb'
soon "installed, it runs and answers" 'curl -sf http://127.0.0.1:9700/health'
inside 'curl -s http://127.0.0.1:9700/metrics' | grep -q '^jitsi_up 0$' || fail "it does not report that the bridge is down"

# reset-failed, because systemd limits how often a service is started.
set_options() { inside "printf '%s\n' $1 >/etc/default/jitsiexporter; systemctl reset-failed jitsiexporter; systemctl restart jitsiexporter" 2>/dev/null || true; }
set_options JITSIEXPORTER_DEMO=true
soon "the option file is read: --demo answers" 'curl -s http://127.0.0.1:9700/metrics | grep -q "^jitsi_up 1$"'
inside 'chmod 600 /etc/default/jitsiexporter; systemctl restart jitsiexporter'
soon "the option file is read if only root can read it" 'curl -s http://127.0.0.1:9700/metrics | grep -q "^jitsi_up 1$"'
inside 'grep -E "^(Uid|CapEff|Seccomp):" /proc/$(systemctl show -P MainPID jitsiexporter)/status' | tr '\n\t' '; '
echo
[ "$(inside 'stat -c %U /proc/$(systemctl show -P MainPID jitsiexporter)')" = jitsiexporter ] || fail "it is not the user of the package"

[ "$(property PrivateUsers)" = no ] || fail "it does not start where user namespaces are off"

# A web configuration that only its group can read; a change of it needs no restart.
user=$(htpasswd -nbBC 4 prometheus secret)
inside "printf 'basic_auth_users:\n  prometheus: %s\n' '${user#*:}' >>/etc/jitsiexporter/web.yml"
set_options 'JITSIEXPORTER_DEMO=true JITSIEXPORTER_WEB_CONFIG_FILE=/etc/jitsiexporter/web.yml'
soon "with /etc/jitsiexporter/web.yml it asks for a password" 'curl -s -o /dev/null -w "%{http_code}" http://127.0.0.1:9700/metrics | grep -x 401'
soon "and accepts the right one" 'curl -sf -u prometheus:secret http://127.0.0.1:9700/metrics'
inside 'sed -i "s/prometheus:/another:/" /etc/jitsiexporter/web.yml; chgrp jitsiexporter /etc/jitsiexporter/web.yml'
soon "a changed web.yml needs no restart" 'curl -sf -u another:secret http://127.0.0.1:9700/metrics'
[ "$(inside 'stat -c "%a %U %G" /etc/jitsiexporter/web.yml')" = "640 root jitsiexporter" ] || fail "others can read it"

inside 'kill -9 $(systemctl show -P MainPID jitsiexporter)'
soon "killed, it is restarted" '[ "$(systemctl show -P NRestarts jitsiexporter)" = 1 ] && curl -sf http://127.0.0.1:9700/health'

# A wrong setting is named in the journal, and the service is not restarted.
set_options JITSIEXPORTER_TIMEOUT=soon
soon "a wrong option is named in the journal" 'journalctl -u jitsiexporter | grep "JITSIEXPORTER_TIMEOUT: .soon. is not"'
[ "$(property ExecMainStatus) $(property ActiveState)" = "2 failed" ] || fail "it is restarted with a wrong option"
set_options JITSIEXPORTER_LISTEN_ADDRESS=10.9.9.9:9700
soon "an address that does not exist is named in the journal" 'journalctl -u jitsiexporter | grep "cannot listen on 10.9.9.9:9700"'
inside 'ip address add 10.9.9.9/32 dev lo'
soon "it listens on the address once it exists" 'curl -sf http://10.9.9.9:9700/health'

inside 'systemctl stop jitsiexporter'
[ "$(property Result) $(property ExecMainStatus)" = "success 0" ] || fail "it does not stop cleanly"
quiet inside 'systemctl reset-failed jitsiexporter; systemctl start jitsiexporter && dpkg --purge jitsiexporter'
soon "purged, it is gone" '! systemctl is-active jitsiexporter && [ ! -e /etc/default/jitsiexporter ] && [ ! -e /etc/jitsiexporter/web.yml ]'

# The archive as a service, with the commands of docs/installing.md.
quiet inside 'set -e
    cd /opt
    tar xzf jitsiexporter_*_linux_$(uname -m).tar.gz
    cd jitsiexporter_*_linux_$(uname -m)
    install -m 755 jitsiexporter /usr/local/bin/jitsiexporter
    install -m 644 jitsiexporter.default /etc/default/jitsiexporter
    sed "s#/usr/bin/#/usr/local/bin/#" jitsiexporter.service > /etc/systemd/system/jitsiexporter.service
    systemctl daemon-reload
    systemctl enable --now jitsiexporter'
soon "the archive as a service answers" 'curl -sf http://127.0.0.1:9700/health && systemctl is-enabled jitsiexporter'
echo "systemd: ok"
# All other processes in there end with their init.
kill -9 "$init" 2>/dev/null || true
