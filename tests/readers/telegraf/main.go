// Prints the metrics that Telegraf's parsers read from the URL. The second argument is metric_version. The request and the choice of the
// parser are copied from the input "prometheus", which would need the client of Kubernetes.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/plugins/parsers/openmetrics"
	"github.com/influxdata/telegraf/plugins/parsers/prometheus"
)

const accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3"

func main() {
	version, err := strconv.Atoi(os.Args[2])
	check(err)
	request, err := http.NewRequest("GET", os.Args[1], nil)
	check(err)
	request.Header.Set("Accept", accept)
	response, err := http.DefaultClient.Do(request)
	check(err)
	body, err := io.ReadAll(response.Body)
	check(err)
	var parser interface {
		Parse([]byte) ([]telegraf.Metric, error)
	}
	if openmetrics.AcceptsContent(response.Header) {
		parser = &openmetrics.Parser{Header: response.Header, MetricVersion: version}
	} else {
		parser = &prometheus.Parser{Header: response.Header, MetricVersion: version}
	}
	metrics, err := parser.Parse(body)
	check(err)
	output := json.NewEncoder(os.Stdout)
	for _, metric := range metrics {
		check(output.Encode([]any{metric.Name(), metric.Tags(), metric.Fields()}))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
