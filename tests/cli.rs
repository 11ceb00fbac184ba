//! The command line and the environment: every option, the launch lines of other exporters, usage errors.

mod support;

use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use jitsiexporter::cli::{self, Command, Config, parse};
use jitsiexporter::metrics::family::Naming::{Legacy, Standard};
use jitsiexporter::metrics::format::Format::Text;
use support::{CURRENT, Exporter, Exposition, FakeBridge, run};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn read(line: &str, environment: &[(&str, &str)]) -> Result<Command, String> {
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    parse(&words(line), |name| environment.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone()))
}

#[track_caller]
fn config(line: &str, environment: &[(&str, &str)]) -> Config {
    match read(line, environment) {
        Ok(Command::Serve(config)) => config,
        other => panic!("{line}: {other:?}"),
    }
}

#[track_caller]
fn mistake(line: &str, environment: &[(&str, &str)]) -> String {
    let error = read(line, environment).map(|command| panic!("{line}: {command:?}")).unwrap_err();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

const URL: &str = "http://localhost:8080";

#[test]
fn defaults() {
    let config = config("", &[]);
    assert_eq!(config.url.as_ref().unwrap().to_string(), URL);
    assert_eq!(config.listen.to_string(), "127.0.0.1:9700");
    assert_eq!(config.timeout, Duration::from_secs(5));
    assert_eq!(config.max_scrapes, 40);
    assert_eq!(config.names(), Standard);
    assert!(config.roots.is_none() && config.ignored.is_empty() && config.legacy_names_by.is_none());
}

#[test]
fn accepts_every_spelling_of_an_option() {
    for spelling in ["--timeout 2.5", "--timeout=2.5", "-timeout 2.5", "-timeout=2.5", "--timeout 9 --timeout 2.5"] {
        assert_eq!(config(spelling, &[]).timeout, Duration::from_millis(2500), "{spelling}");
    }
    for (text, milliseconds) in
        [("5", 5000), ("5s", 5000), ("1.5s", 1500), ("300ms", 300), ("1ms", 1), ("1m", 60_000), ("60m", 3_600_000)]
    {
        assert_eq!(config(&format!("--timeout {text}"), &[]).timeout, Duration::from_millis(milliseconds), "{text}");
    }
    assert_eq!(config("--url https://jvb", &[]).url.unwrap().to_string(), "https://jvb");
    assert_eq!(config("--max-scrapes 3", &[]).max_scrapes, 3);
    assert_eq!(config("--listen-address [::1]:0", &[]).listen.to_string(), "[::1]:0");
    assert_eq!(config("--legacy-names", &[]).names(), Legacy);
    assert_eq!(config("-legacy-names=true", &[]).names(), Legacy);
    assert_eq!(config("--legacy-names=false", &[]).names(), Standard);
    for spelling in ["--web-config-file web.yml", "--web.config.file=web.yml", "-web.config.file web.yml"] {
        let config = config(spelling, &[]);
        assert_eq!((config.web_config_file.as_deref(), config.names()), (Some(Path::new("web.yml")), Standard));
    }
    assert!(config("--demo", &[]).url.is_none());
    assert!(matches!(read("--once", &[]), Ok(Command::Once(_))));
}

#[test]
fn command_line_wins_over_environment() {
    for option in cli::OPTIONS.iter().filter(|option| !option.variable.is_empty()) {
        let name = option.name.replace('-', "_").to_uppercase();
        assert_eq!(option.variable, format!("JITSIEXPORTER_{name}"));
    }
    let all = [
        ("JITSIEXPORTER_URL", "http://env:1/x"),
        ("JITSIEXPORTER_LISTEN_ADDRESS", ":1"),
        ("JITSIEXPORTER_TIMEOUT", "1"),
        ("JITSIEXPORTER_MAX_SCRAPES", "1"),
        ("JITSIEXPORTER_LEGACY_NAMES", "yes"),
        ("JITSIEXPORTER_WEB_CONFIG_FILE", "/etc/web.yml"),
    ];
    let from_environment = config("", &all);
    assert_eq!(from_environment.url.as_ref().unwrap().to_string(), "http://env:1/x");
    assert_eq!(from_environment.listen.to_string(), ":1");
    assert_eq!((from_environment.timeout, from_environment.max_scrapes), (Duration::from_secs(1), 1));
    assert_eq!(from_environment.names(), Legacy);
    assert_eq!(from_environment.web_config_file.as_deref(), Some(Path::new("/etc/web.yml")));
    assert_eq!(from_environment.legacy_names_by.as_deref(), Some("JITSIEXPORTER_LEGACY_NAMES"));
    let typed = config("--url http://typed --listen-address :2 --timeout 2 --max-scrapes 2 --legacy-names=false", &all);
    assert_eq!(typed.url.as_ref().unwrap().to_string(), "http://typed");
    assert_eq!(typed.listen.to_string(), ":2");
    assert_eq!((typed.timeout, typed.max_scrapes, typed.names()), (Duration::from_secs(2), 2, Standard));

    assert!(config("--demo", &all).url.is_none(), "--demo wins over a bridge from the environment");
    assert!(config("", &[("JITSIEXPORTER_DEMO", "1")]).url.is_none());
    assert!(matches!(read("", &[("JITSIEXPORTER_ONCE", "on")]), Ok(Command::Once(_))));
    for off in ["", "0", "false", "No", "OFF"] {
        assert_eq!(config("", &[("JITSIEXPORTER_LEGACY_NAMES", off), ("JITSIEXPORTER_TIMEOUT", "")]).names(), Standard);
    }
    // Kubernetes sets these in every pod if there is a service called jitsiexporter.
    config("", &[("JITSIEXPORTER_PORT", "tcp://10.0.0.1:9700"), ("JITSIEXPORTER_SERVICE_HOST", "10.0.0.1")]);
}

/// The launch lines of the two exporters that this program replaces, from charts, units and guides.
#[test]
fn accepts_launch_lines_of_other_exporters() {
    let colibri = "http://localhost:8080/colibri/stats";
    for (line, url, listen, names) in [
        // prometheus-jitsi-meet-exporter: the Helm charts, the operator, KEDA
        ("-videobridge-url http://localhost:8080/colibri/stats", colibri, ":9888", Legacy),
        // its Ansible role
        ("-videobridge-url http://localhost:8080/colibri/stats -web.listen-address :9888", colibri, ":9888", Legacy),
        // compose files and guides
        ("-videobridge-url http://jvb:8080/colibri/stats", "http://jvb:8080/colibri/stats", ":9888", Legacy),
        ("--videobridge-url=http://jitsi:8080/colibri/stats", "http://jitsi:8080/colibri/stats", ":9888", Legacy),
        ("-web.listen-address=:9999 -videobridge-url=http://jvb", "http://jvb", ":9999", Legacy),
        // what every Prometheus exporter calls it implies nothing
        ("--web.listen-address 0.0.0.0:9888", URL, "0.0.0.0:9888", Standard),
        // jitsiexporter (Go): NixOS
        (
            "-url http://localhost:8080/colibri/stats -host 0.0.0.0 -port 9700 -interval 30s",
            colibri,
            "0.0.0.0:9700",
            Legacy,
        ),
        // its image, whose entry point is the first two, with the command of the Ansible role
        (
            "-debug=true -host=0.0.0.0 --url http://jitsi-meet_jvb_1:8080/colibri/stats",
            "http://jitsi-meet_jvb_1:8080/colibri/stats",
            "0.0.0.0:9700",
            Legacy,
        ),
        // the unit of a blog
        (
            "--url=http://127.0.0.1:8080/colibri/stats --host=127.0.0.1 --port=9700",
            "http://127.0.0.1:8080/colibri/stats",
            "127.0.0.1:9700",
            Legacy,
        ),
        ("-url http://localhost:8080/colibri/stats", colibri, "127.0.0.1:9700", Standard),
        ("-port 1234", URL, "localhost:1234", Legacy),
        ("-host ::", URL, "[::]:9700", Legacy),
        ("-host [::1] -port 1", URL, "[::1]:1", Legacy),
        ("-debug", URL, "127.0.0.1:9700", Legacy),
        ("-debug=false -interval=1m", URL, "127.0.0.1:9700", Legacy),
        ("-videobridge-url http://jvb --legacy-names=false", "http://jvb", ":9888", Standard),
        ("-videobridge-url http://jvb -port 1234", "http://jvb", "localhost:1234", Legacy),
        ("-host h -port 1 --listen-address :2", URL, ":2", Legacy),
    ] {
        // What a command line implies wins over the environment of an image.
        let image = [("JITSIEXPORTER_LISTEN_ADDRESS", ":9700"), ("JITSIEXPORTER_LEGACY_NAMES", "false")];
        for environment in [&[][..], &image] {
            let config = config(line, environment);
            assert_eq!(config.url.as_ref().unwrap().to_string(), url, "{line}");
            let typed = ["address", "-host", "-port", "videobridge-url"].iter().any(|word| line.contains(word));
            let expected = if environment.is_empty() || typed { listen } else { ":9700" };
            assert_eq!(config.listen.to_string(), expected, "{line}");
            assert_eq!(config.names(), names, "{line}");
            assert_eq!(config.legacy_names_by.is_some(), names == Legacy, "{line}");
        }
    }
    assert_eq!(config("-debug=true -interval 30s", &[]).ignored, ["-debug", "-interval"]);
}

#[test]
fn usage_errors_are_one_line_with_option_and_value() {
    for (line, complaint) in [
        ("--nonsense", "\"--nonsense\" is not an option (see --help)"),
        ("--nonsense=7", "\"--nonsense\" is not an option"),
        ("-x", "\"-x\" is not an option"),
        ("http://jvb", "\"http://jvb\" is not an option"),
        ("help", "\"help\" is not an option"),
        ("--", "\"--\" is not an option"),
        ("-", "\"-\" is not an option"),
        ("--url", "--url needs a value"),
        ("-videobridge-url", "-videobridge-url needs a value"),
        ("--url jvb:8080", "--url: \"jvb:8080\" does not begin with http:// or https://"),
        ("-videobridge-url jvb", "-videobridge-url: \"jvb\" does not begin with http:// or https://"),
        ("--url http://me:secret@:x/", "--url: \"http://***@:x/\""),
        // A URL in the wrong place.
        ("http://me:secret@jvb", "\"http://***@jvb\" is not an option"),
        ("--me:secret@jvb=7", "\"***@jvb\" is not an option"),
        ("--timeout http://me:secret@jvb", "--timeout: \"http://***@jvb\" is not"),
        ("--ca-file http://me:secret@jvb", "--ca-file: \"http://***@jvb\" cannot be read"),
        ("--demo=http://me:secret@jvb", "--demo: \"http://***@jvb\" is neither"),
        ("--listen-address http://me:secret@jvb:80", "--listen-address: \"http://***@jvb:80\" needs brackets"),
        ("--listen-address secret@jvb:80", "--listen-address: \"***@jvb:80\" is not host:port"),
        ("-host http://me:secret@jvb", "-host: \"http://***@jvb\" is not a host name or IP address"),
        ("-host [::1 -port 1", "-host: \"[::1\" is not a host name or IP address"),
        ("-host [[::1]]", "-host: \"[[::1]]\" is not a host name or IP address"),
        ("--listen-address 9700", "--listen-address: \"9700\" is not host:port or :port"),
        ("--listen-address :x", "--listen-address: \":x\" is not host:port or :port"),
        ("--listen-address :99999", "--listen-address: \":99999\" is not"),
        ("--listen-address ::1:9700", "--listen-address: \"::1:9700\" needs brackets around an IPv6 address"),
        ("-port x", "-port: \"x\" is not a port from 0 to 65535"),
        ("-host h --port=65536", "--port: \"65536\" is not a port from 0 to 65535"),
        ("--timeout 0", "--timeout: \"0\" is not a duration from 1ms to 60m, such as 5s"),
        ("--timeout 5h", "--timeout: \"5h\" is not"),
        ("--timeout 61m", "--timeout: \"61m\" is not"),
        ("--timeout s", "--timeout: \"s\" is not"),
        ("--timeout 5s5s", "--timeout: \"5s5s\" is not"),
        ("--timeout 5µs", "--timeout: \"5µs\" is not"),
        ("--timeout NaN", "--timeout: \"NaN\" is not"),
        ("--timeout -1", "--timeout: \"-1\" is not"),
        ("--timeout inf", "--timeout: \"inf\" is not"),
        ("--max-scrapes 0", "--max-scrapes: \"0\" is not a number from 1 to 100"),
        ("--max-scrapes many", "--max-scrapes: \"many\" is not"),
        ("--legacy-names=maybe", "--legacy-names: \"maybe\" is neither true nor false"),
        ("--demo --url http://jvb", "--demo brings its own bridge and cannot be combined with --url"),
        (
            "--demo -videobridge-url http://jvb",
            "--demo brings its own bridge and cannot be combined with -videobridge-url",
        ),
    ] {
        let error = mistake(line, &[]);
        assert!(error.contains(complaint), "{line}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for (name, value, complaint) in [
        ("JITSIEXPORTER_TIMEOUT", "soon", "JITSIEXPORTER_TIMEOUT: \"soon\" is not"),
        ("JITSIEXPORTER_URL", "jvb", "JITSIEXPORTER_URL: \"jvb\" does not begin with"),
        ("JITSIEXPORTER_DEMO", "perhaps", "JITSIEXPORTER_DEMO: \"perhaps\" is neither true nor false"),
    ] {
        let error = mistake("", &[(name, value)]);
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn help_lists_every_option_in_80_columns() {
    let help = cli::help();
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    // As one line, because defaults and variables may be wrapped.
    let flat = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for option in cli::OPTIONS.iter().filter(|option| option.implies.is_empty()) {
        for part in [&format!("--{}", option.name), option.value, option.default, option.variable, option.help] {
            assert!(flat.contains(part), "{} lacks {part}", option.name);
        }
    }
    for line in ["--help", "-h", "-help", "--url x --help"] {
        assert!(matches!(read(line, &[]), Ok(Command::Print(text)) if text == help), "{line}");
    }
}

proptest! {
    /// Whatever is typed, the answer is a configuration, or one line without the password.
    #[test]
    fn random_command_lines_are_parsed_or_rejected(
        typed in vec((
            select(vec!["", "-", "--"]),
            name(),
            select(vec!["", "=", "=true", "=http://me:s3cr3t@jvb", "=5s", "=[::1]:0", "={host}"]),
        ), 0..6),
        values in vec("\\PC{0,8}", 0..3),
    ) {
        let typed: Vec<_> = typed.into_iter().map(|(dashes, name, value)| format!("{dashes}{name}{value}")).chain(values).collect();
        match parse(&typed, |_| None) {
            Ok(Command::Serve(config) | Command::Once(config)) => {
                prop_assert!((Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&config.timeout));
                prop_assert!(config.listen.to_string().parse() == Ok(config.listen));
            }
            Ok(Command::Print(text)) => prop_assert!(text.ends_with('\n')),
            Err(error) => prop_assert!(error.lines().count() == 1 && !error.contains("s3cr3t"), "{}", error),
        }
    }
}

/// Names of options and others. `--ca-file` is left out, because it reads the file.
fn name() -> impl Strategy<Value = String> {
    let names: Vec<_> = cli::OPTIONS.iter().map(|option| option.name).filter(|name| *name != "ca-file").collect();
    prop_oneof![select(names).prop_map(str::to_owned), "\\PC{0,6}"]
}

#[test]
fn exit_codes() {
    let (code, out, error) = run(&["--version"]);
    assert_eq!((code, &*error), (Some(0), ""));
    assert!(out.starts_with(concat!("jitsiexporter ", env!("CARGO_PKG_VERSION"))), "{out}");
    assert_eq!(run(&["--help"]), (Some(0), cli::help(), String::new()));
    let (code, out, error) = run(&["--timeout", "x"]);
    assert_eq!((code, &*out), (Some(2), ""));
    assert_eq!(error, "jitsiexporter: --timeout: \"x\" is not a duration from 1ms to 60m, such as 5s\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, error) = run(&["--listen-address", &address]);
    assert_eq!(code, Some(1));
    assert!(error.contains(&format!("cannot listen on {address}: address already in use")), "{error}");
    let (code, _, error) = run(&["--listen-address", "203.0.113.1:0"]);
    assert_eq!(code, Some(1), "{error}");
}

#[test]
fn once_prints_one_scrape_as_text() {
    let bridge = FakeBridge::json(CURRENT);
    let (code, out, error) = run(&["--once", "--url", &bridge.url()]);
    assert_eq!((code, &*error, bridge.hits()), (Some(0), "", 1));
    assert_eq!(Exposition::read(&out, Text).unwrap().value("jitsi_conferences"), Some("4"));
    let nowhere = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
    let (code, out, error) = run(&["--once", "--url", &format!("http://{nowhere}")]);
    assert_eq!((code, Exposition::of(&out).reason()), (Some(1), Some("connect")));
    assert!(error.contains("connection refused") && error.lines().count() == 1, "{error}");
}

#[test]
fn start_line_has_version_bridge_and_names() {
    let line = |args: &[&str], environment: &[(&str, &str)]| Exporter::start(args, environment).log().join("\n");
    let plain = line(&["--url", "http://me:secret@jvb", "--listen-address", "127.0.0.1:0"], &[]);
    assert!(
        plain.contains(env!("CARGO_PKG_VERSION"))
            && plain.ends_with("bridge http://jvb (/colibri/stats, or /metrics if that is 404), names standard"),
        "{plain}"
    );
    let old = line(&["-videobridge-url=http://jvb", "-web.listen-address=127.0.0.1:0"], &[]);
    assert!(old.ends_with("names legacy, because of -videobridge-url"), "{old}");
    let environment = line(&["--listen-address", "127.0.0.1:0"], &[("JITSIEXPORTER_LEGACY_NAMES", "1")]);
    assert!(environment.ends_with("names legacy, because of JITSIEXPORTER_LEGACY_NAMES"), "{environment}");
    let idle = Exporter::start(&["-interval", "30s", "-debug", "-listen-address", "127.0.0.1:0"], &[]);
    idle.wait_for_log("no effect: -interval, -debug (each scrape asks the bridge)");
}

#[test]
fn address_without_host_is_every_interface() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::start(&["--url", &bridge.url(), "--listen-address", ":0"], &[]);
    let log = exporter.log();
    assert!(["http://[::]:", "http://0.0.0.0:"].iter().any(|url| log[0].contains(url)), "{log:?}");
    let port = exporter.address().port();
    TcpStream::connect(("127.0.0.1", port)).expect("v4");
    if TcpListener::bind("[::1]:0").is_ok() {
        TcpStream::connect(("::1", port)).expect("v6");
    }
    assert_eq!(exporter.get("/health").body, "ok");
}

#[test]
fn listens_on_every_address_of_a_name() {
    // /etc/hosts may list ::1 first. -port implies localhost.
    for args in [["--listen-address", "localhost:0"], ["-port", "0"]] {
        let exporter = Exporter::start(&args, &[]);
        assert_eq!(exporter.get("/health").body, "ok", "{args:?}");
        let mut line = format!("listens on http://127.0.0.1:{}/metrics", exporter.address().port());
        // Not every machine has IPv6, and not every /etc/hosts says that it is localhost.
        let mut named = ("localhost", exporter.address().port()).to_socket_addrs().unwrap();
        let ipv6 = named.find(|address| address.is_ipv6() && TcpListener::bind((address.ip(), 0)).is_ok());
        if let Some(address) = ipv6 {
            TcpStream::connect(address).unwrap_or_else(|error| panic!("{args:?}: {address}: {error}"));
            line.extend([" and http://", &address.to_string(), "/metrics"]);
        }
        assert!(exporter.log()[0].contains(&format!("{line}, bridge ")), "{:?}: {line}", exporter.log());
    }
}
