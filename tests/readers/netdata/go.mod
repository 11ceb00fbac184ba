module jitsiexporter-readers/netdata

go 1.27.3

require github.com/netdata/go.d.plugin v0.58.1

require (
	github.com/cespare/xxhash/v2 v2.2.0 // indirect
	github.com/grafana/regexp v0.0.0-20220304095617-2e8d9baf4ac2 // indirect
	github.com/kr/pretty v0.3.1 // indirect
	github.com/lmittmann/tint v1.0.4 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/prometheus/prometheus v2.5.0+incompatible // indirect
	golang.org/x/sys v0.16.0 // indirect
	gopkg.in/yaml.v2 v2.4.0 // indirect
)

replace github.com/prometheus/prometheus => github.com/prometheus/prometheus v0.36.2
