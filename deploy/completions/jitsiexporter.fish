# Made from the table of options by `make generate`.
complete -c jitsiexporter -f
complete -c jitsiexporter -l url -x -d 'URL of the bridge, http or https; without a path, /colibri/stats is asked, and if that is 404, /metrics; user:password@ is basic auth'
complete -c jitsiexporter -l listen-address -x -d 'address to listen on; :9700 is every interface, port 0 picks a free port; can be repeated (variable: separated by commas)'
complete -c jitsiexporter -l timeout -x -d 'scrape timeout, such as 5s, 500ms or 1m; a number alone is seconds'
complete -c jitsiexporter -l max-scrapes -x -d 'limit of concurrent scrapes; above it the response is 503'
complete -c jitsiexporter -l ca-file -r -F -d 'PEM certificates to trust besides the public ones, for a bridge behind an internal CA'
complete -c jitsiexporter -l web-config-file -r -F -d 'TLS, client certificates and passwords for the listener, in the format of Prometheus exporters'
complete -c jitsiexporter -l legacy-names -d 'use the legacy names of the older exporters: jitsi_<key>, in the bridge\'s own units'
complete -c jitsiexporter -l once -d 'print one scrape as text 0.0.4 and exit, with status 1 if the bridge is not up'
complete -c jitsiexporter -l demo -d 'export a simulated bridge'
complete -c jitsiexporter -l version -d 'print the version and exit'
complete -c jitsiexporter -l help -d 'print the options and exit'
