#!/bin/sh
# Reads the compose files as Docker Compose does, with its own library: validates them against the schema of the Compose
# Specification, merges them over a stand-in for the docker-compose.yml of docker-jitsi-meet and checks the result.
# Needs Go and its module proxy. Version 1 of the library is the one that Debian 12's Go can build.
. "$(dirname "$0")/root.sh"

COMPOSE_GO=github.com/compose-spec/compose-go@v1.20.2

workdir
cp deploy/compose/*.yml "$work"
# The parts that the overrides change.
cat >"$work/docker-compose.yml" <<'END'
services:
    jvb:
        image: ghcr.io/jitsi/jvb:stable
        environment:
            - COLIBRI_REST_ENABLED
            - JVB_PORT
        networks:
            meet.jitsi:
networks:
    meet.jitsi:
END

mkdir "$work/load"
cat >"$work/load/main.go" <<'END'
package main

import (
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithName("jitsi"))
	if err != nil {
		panic(err)
	}
	project, err := cli.ProjectFromOptions(options)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	merged, err := project.MarshalYAML()
	if err != nil {
		panic(err)
	}
	fmt.Print(string(merged))
}
END
for command in "mod init load" "get ${COMPOSE_GO%@*}/cli@${COMPOSE_GO#*@}" "build -o ../load-compose ."; do
    # shellcheck disable=SC2086
    (cd "$work/load" && quiet go $command)
done
cd "$work"
load() { ./load-compose "$@"; }

# Compose recreates a container whose definition changes, and a new bridge has no calls: only a service is added.
load docker-compose.yml >before
load docker-compose.yml jitsiexporter.yml >merged
diff before merged >added || true
[ "$(grep -c '^[0-9<]' added)" = 1 ] && grep -q '^> *jitsiexporter:$' added || { cat added; fail "the definition of the bridge changes"; }
if grep -q 'cpus:' merged; then fail "a kernel without CFS quota refuses a limit of CPU"; fi
load docker-compose.yml jitsiexporter.yml jitsiexporter-prometheus.yml >merged
grep -q 'targets: \["jitsiexporter:9700"\]' merged || fail "Prometheus does not scrape the exporter"
# A file with an unknown key is rejected.
sed 's/read_only: true/read_onyl: true/' jitsiexporter.yml >broken.yml
if load docker-compose.yml broken.yml >/dev/null 2>&1; then fail "an unknown key is accepted"; fi
if load jitsiexporter.yml jitsiexporter-prometheus.yml >/dev/null 2>&1; then fail "services without an image and an undefined network are accepted"; fi

# The configuration of Prometheus that the second file contains, if promtool is installed.
if command -v promtool >/dev/null; then
    sed -n '/content: |/,/^volumes:/p' jitsiexporter-prometheus.yml | sed '1d;$d' | sed 's/^ \{12\}//' >prometheus.yml
    promtool check config prometheus.yml
fi
echo "compose: ok"
