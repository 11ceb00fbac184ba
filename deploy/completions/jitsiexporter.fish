# Made from the table of options by `make generate`.
complete -c jitsiexporter -f
complete -c jitsiexporter -l help -d 'display usage information'
complete -c jitsiexporter -l url -x -d 'the bridge, http or https; without a path /colibri/stats is meant; user:password@ is basic auth'
complete -c jitsiexporter -l listen-address -x -d 'where to listen; :9700 is every interface, port 0 picks a port'
complete -c jitsiexporter -l timeout -x -d 'how long the bridge may take to answer'
complete -c jitsiexporter -l max-scrapes -x -d 'how many scrapes run at once; one more is answered 503'
complete -c jitsiexporter -l ca-file -r -F -d 'PEM file with certificates to trust beside the public ones, for a bridge behind an internal CA'
complete -c jitsiexporter -l legacy-names -d 'name the metrics jitsi_<key> and leave their values alone, as older exporters do'
complete -c jitsiexporter -l web-config-file -r -F -d 'TLS, client certificates and passwords for the listener, in the format of Prometheus\' exporter-toolkit'
complete -c jitsiexporter -l once -d 'print one scrape as text 0.0.4 and exit, 1 if the bridge is not up'
complete -c jitsiexporter -l demo -d 'export a sample bridge that this program serves itself, on a loopback port'
complete -c jitsiexporter -l version -d 'print the version and exit'
