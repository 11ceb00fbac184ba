// Prints the fields that Telegraf's input "prometheus" gathers from the URL. The second argument is its metric_version.
package main

import (
	"encoding/json"
	"log"
	"os"
	"strconv"

	"github.com/influxdata/telegraf/plugins/inputs"
	_ "github.com/influxdata/telegraf/plugins/inputs/prometheus"
	"github.com/influxdata/telegraf/testutil"
	"github.com/influxdata/toml"
)

func main() {
	input := inputs.Inputs["prometheus"]()
	config := "urls = [" + strconv.Quote(os.Args[1]) + "]\nmetric_version = " + os.Args[2] + "\n"
	if err := toml.Unmarshal([]byte(config), input); err != nil {
		log.Fatal(err)
	}
	if err := input.(interface{ Init() error }).Init(); err != nil {
		log.Fatal(err)
	}
	var gathered testutil.Accumulator
	if err := gathered.GatherError(input.Gather); err != nil {
		log.Fatal(err)
	}
	output := json.NewEncoder(os.Stdout)
	for _, metric := range gathered.Metrics {
		output.Encode([]any{metric.Measurement, metric.Tags, metric.Fields})
	}
}
