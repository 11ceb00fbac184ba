// Prints the samples that prom2json, which uses Go's expfmt, reads from the URL.
package main

import (
	"encoding/json"
	"log"
	"maps"
	"net/http"
	"os"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prom2json"
)

var output = json.NewEncoder(os.Stdout)

func emit(name string, labels map[string]string, value any) {
	output.Encode([]any{name, labels, value})
}

// with returns a copy of the labels and one more.
func with(labels map[string]string, name, value string) map[string]string {
	more := map[string]string{name: value}
	maps.Copy(more, labels)
	return more
}

func main() {
	families := make(chan *dto.MetricFamily, 1024)
	if err := prom2json.FetchMetricFamilies(os.Args[1], families, http.DefaultTransport); err != nil {
		log.Fatal(err)
	}
	for family := range families {
		read := prom2json.NewFamily(family)
		for _, metric := range read.Metrics {
			switch metric := metric.(type) {
			case prom2json.Metric:
				emit(read.Name, metric.Labels, metric.Value)
			case prom2json.Histogram:
				for bound, count := range metric.Buckets.(map[string]string) {
					emit(read.Name+"_bucket", with(metric.Labels, "le", bound), count)
				}
				emit(read.Name+"_count", metric.Labels, metric.Count)
				emit(read.Name+"_sum", metric.Labels, metric.Sum)
			default:
				log.Fatalf("%s is a %T", read.Name, metric)
			}
		}
	}
}
