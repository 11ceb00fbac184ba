// Prints the data points that OpenTelemetry's prometheusreceiver produces from one scrape of the URL. Further arguments are
// scrape_protocols.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/url"
	"os"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	target, err := url.Parse(os.Args[1])
	check(err)
	job := map[string]any{
		"job_name": "jitsi", "scrape_interval": "1s", "scrape_timeout": "1s", "metrics_path": target.Path,
		"static_configs": []any{map[string]any{"targets": []any{target.Host}}},
	}
	if len(os.Args) > 2 {
		job["scrape_protocols"] = os.Args[2:]
	}
	factory := prometheusreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	check(confmap.NewFromStringMap(map[string]any{"config": map[string]any{"scrape_configs": []any{job}}}).Unmarshal(config))
	sink := new(consumertest.MetricsSink)
	receiver, err := factory.CreateMetrics(context.Background(), receivertest.NewNopSettings(factory.Type()), config, sink)
	check(err)
	check(receiver.Start(context.Background(), componenttest.NewNopHost()))
	for waited := time.Duration(0); len(sink.AllMetrics()) == 0; waited += 100 * time.Millisecond {
		if waited > 20*time.Second {
			log.Fatal("nothing was scraped")
		}
		time.Sleep(100 * time.Millisecond)
	}
	check(receiver.Shutdown(context.Background()))
	output := json.NewEncoder(os.Stdout)
	text, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(sink.AllMetrics()[0])
	check(err)
	output.Encode(json.RawMessage(text))
}
