#!/usr/bin/env bash
# One would guess that cipher_suites in the web configuration of a Prometheus exporter takes any list of suites that its documentation
# names, and that a list of suites of TLS 1.3 alone is a strict but valid choice.
# What happens: with http2 on, which is the default, the exporter starts and opens its port, and ends as soon as it serves: Go's HTTP/2
# wants an ECDHE suite of TLS 1.2 with AES_128_GCM_SHA256 in the list, whatever the versions. With http2: false the same list works.
# Who meets it: operators who harden the file, and programs that read the same file and take the list as it is.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
cd "$folder"
# apt-get downloads as another user.
chmod 777 .
apt-get download -qq prometheus-node-exporter=1.5.0-1+b6
dpkg --extract ./*.deb package
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -addext basicConstraints=CA:FALSE -keyout web.key -out web.crt 2> /dev/null
tls='tls_server_config: {cert_file: web.crt, key_file: web.key, cipher_suites: [TLS_AES_128_GCM_SHA256]}'
serve() { # the rest of the file: whether the exporter answers, and what it says if it does not
    printf '%s\n' "$tls" "$1" > web.yml
    package/usr/bin/prometheus-node-exporter --collector.disable-defaults --web.listen-address=127.0.0.1:0 \
        --web.config.file=web.yml 2> log &
    exporter=$!
    for _ in $(seq 100); do
        port=$(sed -n 's/.*[Ll]istening on.*address=127.0.0.1:\([0-9]*\).*/\1/p' log)
        [ -z "$port" ] && kill -0 "$exporter" 2> /dev/null || break
        sleep 0.1
    done
    sleep 1
    if [ -n "$port" ] && curl --silent --max-time 30 --cacert web.crt --output answer "https://localhost:$port/"; then
        echo "it answers"
    else
        grep -o 'http2: .*' log | tr -d '\\"' || echo "no word of HTTP/2: $(tail -n 1 log)"
    fi
    kill "$exporter" 2> /dev/null || true
    wait "$exporter" || true
}
echo "node exporter 1.5.0, cipher_suites: [TLS_AES_128_GCM_SHA256]:"
on=$(serve '')
off=$(serve 'http_server_config: {http2: false}')
echo "http2 not given: $on"
echo "http2: false: $off"
case $on in "http2: "*) ;; *) exit 1 ;; esac
[ "$off" = "it answers" ]
