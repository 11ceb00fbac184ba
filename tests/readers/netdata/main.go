// Prints what netdata's collector "prometheus" collects from the URL: integers by the name of a dimension.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/netdata/go.d.plugin/modules/prometheus"
)

func main() {
	collector := prometheus.New()
	collector.URL = os.Args[1]
	collector.FallbackType.Gauge = os.Args[2:]
	if !collector.Init() || !collector.Check() {
		log.Fatal("the collector does not start")
	}
	json.NewEncoder(os.Stdout).Encode(collector.Collect())
}
