#!/usr/bin/env bash
# One would guess that each job of a Pushgateway has its own metrics, so that a release that corrects the type of a metric can be rolled
# out job by job.
# What happens: a metric has one type in all groups. A push with the new type has status 400, and none of its metrics is stored, as long
# as one group has the old type, also if that was pushed by a machine that no longer exists. A push of the group that has the old type
# succeeds, since it replaces the metric.
# Who meets it: a fleet of batch jobs during an upgrade: the first machine with the new release is refused, unless it is the only one.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
cd "$folder"
# apt-get downloads as another user.
chmod 777 .
apt-get download -qq prometheus-pushgateway=1.5.1-2+b5
dpkg --extract ./*.deb package
package/usr/bin/prometheus-pushgateway --persistence.file=stored --web.listen-address=127.0.0.1:0 2> log &
for _ in $(seq 300); do
    grep -q 'Listening on' log && break
    sleep 0.1
done
address=$(sed -n 's/.*Listening on.* address=\(127[^ ]*\).*/\1/p' log)
push() { # instance, type: the status and the answer
    printf '# TYPE x %s\nx 1\n# TYPE other gauge\nother 1\n' "$2" |
        curl --silent --max-time 30 --write-out '%{http_code}\n' --data-binary @- "http://$address/metrics/job/backup/instance/$1"
}
echo "Pushgateway 1.5.1:"
old=$(push old untyped)
new=$(push new counter)
stored=$(curl --silent --max-time 30 "http://$address/metrics" | grep -c '^other{') || true
again=$(push old counter)
then=$(push new counter)
printf '%s\n' "old, untyped: $old" "new, counter: $new" "old, counter: $again" "new, counter: $then"
[ "$old" = 200 ]
echo "$new" | grep -q 'is not a UNTYPED'
[ "$(echo "$new" | tail -n 1)" = 400 ]
[ "$stored" = 1 ]
[ "$again $then" = "200 200" ]
