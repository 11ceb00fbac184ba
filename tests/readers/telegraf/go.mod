module jitsiexporter-readers/telegraf

go 1.27.3

require github.com/influxdata/telegraf v1.37.2 // indirect
