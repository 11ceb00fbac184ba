#!/usr/bin/env bash
# One would guess that the node exporter's textfile collector merges files that have different series of one metric, or sets
# node_textfile_scrape_error to 1 if it cannot.
# What happens: if the files differ in the help text, the series of one file are left out. The response has status 200,
# node_textfile_scrape_error is 0 and node_scrape_collector_success is 1. Only the log says so. The metrics that one file alone has are
# there.
# Who meets it: hosts with two services that write a file each, on the day one of them is upgraded to a release with a new help text.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
cd "$folder"
# apt-get downloads as another user.
chmod 777 .
apt-get download -qq prometheus-node-exporter=1.5.0-1+b6
dpkg --extract ./*.deb package
mkdir files
printf '# HELP up Whether it is up.\n# TYPE up gauge\nup{service="a"} 1\n# TYPE only_a gauge\nonly_a 1\n' > files/a.prom
printf '# HELP up Whether it is running.\n# TYPE up gauge\nup{service="b"} 1\n# TYPE only_b gauge\nonly_b 1\n' > files/b.prom
options=(--collector.disable-defaults --collector.textfile --collector.textfile.directory=files --web.listen-address=127.0.0.1:0)
package/usr/bin/prometheus-node-exporter "${options[@]}" 2> log &
for _ in $(seq 300); do
    grep -q 'Listening on' log && break
    sleep 0.1
done
address=$(sed -n 's/.*Listening on.* address=\(127[^ ]*\).*/\1/p' log)
echo "node exporter 1.5.0, given up of a and b with different help texts:"
found=$(curl --silent --fail --max-time 30 "http://$address/metrics" | grep -E '^(up|only_|node_textfile_scrape_error|node_scrape_collector_success)')
echo "$found"
grep -o 'has help.*' log
[ "$(echo "$found" | grep -c '^up{')" = 1 ]
[ "$(echo "$found" | grep -c '^only_')" = 2 ]
echo "$found" | grep -q '^node_textfile_scrape_error 0$'
echo "$found" | grep -q '^node_scrape_collector_success.* 1$'
