//! The command line and the environment: every option, the launch lines of other exporters, usage errors.

mod support;

use std::ffi::OsString;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use jitsiexporter::cli::{self, Command, Config, parse};
use jitsiexporter::metrics::family::Naming::{Legacy, Standard};
use jitsiexporter::metrics::format::Format::Text;
use support::{Answer, CURRENT, Exporter, Exposition, FakeBridge, command, output, run, send};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn read(line: &str, environment: &[(&str, &str)]) -> Result<Command, String> {
    let variables: Vec<_> = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    parse(&words(line), &variables)
}

/// The addresses as they can be typed.
fn listen(config: &Config) -> String {
    config.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
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
    assert_eq!(listen(&config), "127.0.0.1:9700");
    assert_eq!(config.timeout, Duration::from_secs(5));
    assert_eq!(config.max_scrapes, 40);
    assert_eq!(config.names(), Standard);
    assert!(config.ca_file.is_none() && config.notices.is_empty() && config.legacy_names_by.is_none());
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
    for spelling in ["--max-scrapes 3", "--web.max-requests 3", "-web.max-requests=3"] {
        let config = config(spelling, &[]);
        assert_eq!((config.max_scrapes, config.names()), (3, Standard), "{spelling}");
    }
    assert_eq!(listen(&config("--listen-address [::1]:0", &[])), "[::1]:0");
    let (path, option) = config("-ca-file=no/such.pem", &[]).ca_file.unwrap();
    assert_eq!((path.as_path(), &*option), (Path::new("no/such.pem"), "-ca-file"));
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
    assert_eq!(listen(&from_environment), ":1");
    assert_eq!((from_environment.timeout, from_environment.max_scrapes), (Duration::from_secs(1), 1));
    assert_eq!(from_environment.names(), Legacy);
    assert_eq!(from_environment.web_config_file.as_deref(), Some(Path::new("/etc/web.yml")));
    assert_eq!(from_environment.legacy_names_by.as_deref(), Some("JITSIEXPORTER_LEGACY_NAMES"));
    let typed = config("--url http://typed --listen-address :2 --timeout 2 --max-scrapes 2 --legacy-names=false", &all);
    assert_eq!(typed.url.as_ref().unwrap().to_string(), "http://typed");
    assert_eq!(listen(&typed), ":2");
    assert_eq!((typed.timeout, typed.max_scrapes, typed.names()), (Duration::from_secs(2), 2, Standard));

    assert!(config("--demo", &all).url.is_none(), "--demo wins over a bridge from the environment");
    assert!(config("", &[("JITSIEXPORTER_DEMO", "1")]).url.is_none());
    assert!(matches!(read("", &[("JITSIEXPORTER_ONCE", "on")]), Ok(Command::Once(_))));
    for off in ["", "0", "false", "No", "OFF"] {
        assert_eq!(config("", &[("JITSIEXPORTER_LEGACY_NAMES", off), ("JITSIEXPORTER_TIMEOUT", "")]).names(), Standard);
    }
    // A Secret made with echo ends in a line break.
    let blanks = [
        ("JITSIEXPORTER_URL", "\thttp://env:1/x \r\n"),
        ("JITSIEXPORTER_TIMEOUT", " 2s\n"),
        ("JITSIEXPORTER_DEMO", " \n"),
    ];
    let from_secret = config("", &blanks);
    assert_eq!(from_secret.url.as_ref().unwrap().to_string(), "http://env:1/x");
    assert_eq!(from_secret.timeout, Duration::from_secs(2));
}

#[test]
fn several_addresses_are_all_used() {
    for (line, variable, expected) in [
        ("--listen-address :1 -listen-address=localhost:2", "", ":1 localhost:2"),
        ("--web.listen-address :1 --web.listen-address [::1]:1", "", ":1 [::1]:1"),
        ("--web.listen-address :2 --listen-address :1 -url http://x", ":9", ":2 :1"),
        ("-videobridge-url http://jvb --web.listen-address :1 --web.listen-address :2", "", ":1 :2"),
        ("", "127.0.0.1:1, [::1]:2,:3\n", "127.0.0.1:1 [::1]:2 :3"),
        ("", " , ", "127.0.0.1:9700"),
    ] {
        let config = config(line, &[("JITSIEXPORTER_LISTEN_ADDRESS", variable)]);
        assert_eq!((&*listen(&config), config.notices), (expected, vec![]), "{line} {variable}");
    }
    let error = mistake("", &[("JITSIEXPORTER_LISTEN_ADDRESS", ":1,x")]);
    assert_eq!(error, "JITSIEXPORTER_LISTEN_ADDRESS: \"x\" is not host:port or :port");
    let exporter = Exporter::start(&["--listen-address", "127.0.0.2:0", "--web.listen-address", "127.0.0.1:0"], &[]);
    let addresses: Vec<_> = exporter.log()[0].split("http://127.0.0.").skip(1).map(|url| url[..1].to_owned()).collect();
    assert_eq!(addresses, ["2", "1"], "{:?}", exporter.log());
    for url in exporter.log()[0].split("http://").skip(1).take(2) {
        let answer = send(url.split('/').next().unwrap(), "GET /health HTTP/1.0\r\n\r\n");
        assert_eq!(Answer::parse(&answer).body, "ok", "{url}");
    }
}

#[test]
fn says_what_has_no_effect() {
    for (line, notices) in [
        ("-debug=true -interval 30s", &["no effect: -debug, -interval (each scrape asks the bridge)"][..]),
        ("-debug=true -debug=false", &["no effect: -debug (each scrape asks the bridge)"]),
        ("--timeout 9 --timeout 2.5", &["overridden: --timeout \"9\" (by --timeout \"2.5\")"]),
        ("--timeout 9 -timeout=9", &[]),
        (
            "--url http://me:secret@a?x=secret -videobridge-url http://b --max-scrapes 1 --web.max-requests=2",
            &[
                "overridden: --url \"http://***@a?***\" (by -videobridge-url \"http://b\"), --max-scrapes \"1\" (by --web.max-requests \"2\")",
            ],
        ),
        (
            "--web.config.file a --web-config-file b",
            &["overridden: --web.config.file \"a\" (by --web-config-file \"b\")"],
        ),
        ("--legacy-names --legacy-names=false", &["overridden: --legacy-names=true (by --legacy-names=false)"]),
        (
            "-host h -port 1 --listen-address :2",
            &["overridden: -host \"h\" (by --listen-address \":2\"), -port \"1\" (by --listen-address \":2\")"],
        ),
        ("-host h -port 1 --legacy-names=false", &[]),
        ("-host h -host g", &["overridden: -host \"h\" (by -host \"g\")"]),
    ] {
        assert_eq!(config(line, &[]).notices, notices, "{line}");
    }
    assert_eq!(
        config("--timeout 9 --timeout 2.5 -videobridge-url http://a -url http://b", &[]).url.unwrap().to_string(),
        "http://b"
    );
    let exporter =
        Exporter::before("http://127.0.0.1:1", &["--max-scrapes=1", "--max-scrapes", "2", "-interval", "30s"]);
    exporter.wait_for_log("overridden: --max-scrapes \"1\" (by --max-scrapes \"2\")");
    exporter.wait_for_log("no effect: -interval (each scrape asks the bridge)");
}

#[test]
fn names_variables_that_are_not_options() {
    let notices = |names: &[(&str, &str)]| config("", names).notices;
    for (name, meant) in [
        ("URI", "URL"),
        ("BRIDGE_URL", "URL"),
        ("URLS", "URL"),
        ("LISTEN", "LISTEN_ADDRESS"),
        ("LISTEN_ADDRES", "LISTEN_ADDRESS"),
        ("LISTENADDRESS", "LISTEN_ADDRESS"),
        ("TIMEOUT_", "TIMEOUT"),
        ("WEB_CONFIG", "WEB_CONFIG_FILE"),
    ] {
        let expected = format!("not an option: JITSIEXPORTER_{name} (did you mean JITSIEXPORTER_{meant}?)");
        assert_eq!(notices(&[(&format!("JITSIEXPORTER_{name}"), "http://me:secret@x")]), [expected]);
    }
    assert_eq!(
        notices(&[("JITSIEXPORTER_PORT", "9700"), ("JITSIEXPORTER_TELEMETRY", "1"), ("JITSIEXPORTER_X", "")]),
        ["not an option: JITSIEXPORTER_PORT, JITSIEXPORTER_TELEMETRY, JITSIEXPORTER_X"]
    );
    // Kubernetes sets these in every pod if there is a service called jitsiexporter or jitsiexporter-jvb.
    for name in [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP_METRICS",
        "PORT",
        "PORT_9700_TCP",
        "PORT_9700_TCP_ADDR",
        "PORT_9700_TCP_PORT",
    ] {
        for service in ["JITSIEXPORTER_", "JITSIEXPORTER_JVB_"] {
            assert_eq!(notices(&[(&format!("{service}{name}"), "tcp://10.0.0.1:9700")]), [""; 0], "{service}{name}");
        }
    }
    let exporter = Exporter::start(&["--listen-address", "127.0.0.1:0"], &[("JITSIEXPORTER_URI", "http://jvb")]);
    exporter.wait_for_log("not an option: JITSIEXPORTER_URI (did you mean JITSIEXPORTER_URL?)");
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
        // the name of the option in every Prometheus exporter implies nothing
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
            assert_eq!(self::listen(&config), expected, "{line}");
            assert_eq!(config.names(), names, "{line}");
            assert_eq!(config.legacy_names_by.is_some(), names == Legacy, "{line}");
        }
    }
}

#[test]
fn usage_errors_are_one_line_with_option_and_value() {
    for (line, complaint) in [
        ("--nonsense", "\"--nonsense\" is not an option (see --help)"),
        ("--uri x", "\"--uri\" is not an option (see --help); did you mean --url?"),
        ("-listen-adress=:1", "\"-listen-adress\" is not an option (see --help); did you mean --listen-address?"),
        ("--web.listen_address=:1", "did you mean --web.listen-address?"),
        ("--Timeout 5", "did you mean --timeout?"),
        ("--listen :1", "did you mean --listen-address?"),
        ("--bridge-url x", "did you mean --url?"),
        ("--web.config web.yml", "did you mean --web-config-file?"),
        ("--versoin", "did you mean --version?"),
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
        ("--me:secret@jvb=7", "\"***@jvb=7\" is not an option"),
        ("http://me:secret=x@jvb/", "\"http://***@jvb/\" is not an option"),
        ("me:secret=x@jvb", "\"***@jvb\" is not an option"),
        ("--me:secret=x@jvb", "\"***@jvb\" is not an option"),
        ("--nonsense=x@jvb", "\"--nonsense\" is not an option"),
        ("--timeout http://me:secret@jvb", "--timeout: \"http://***@jvb\" is not"),
        ("--demo=http://me:secret@jvb", "--demo: \"http://***@jvb\" is neither"),
        ("--listen-address http://me:secret@jvb:80", "--listen-address: \"http://***@jvb:80\" has a scheme"),
        ("--listen-address secret@jvb:80", "--listen-address: \"***@jvb:80\" is not host:port"),
        ("-host http://me:secret@jvb", "-host: \"http://***@jvb\" is not a host name or IP address"),
        ("-host [::1 -port 1", "-host: \"[::1\" is not a host name or IP address"),
        ("-host [[::1]]", "-host: \"[[::1]]\" is not a host name or IP address"),
        ("-host {port}", "-host: \"{port}\" is not a host name or IP address"),
        ("-port {host} -host x", "-port: \"{host}\" is not a port"),
        (
            "--listen-address http://localhost:9700",
            "\"http://localhost:9700\" has a scheme, and should be just host:port or :port",
        ),
        ("--listen-address 9700", "--listen-address: \"9700\" is not host:port or :port"),
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
        // A later value does not hide an invalid one.
        ("--demo=http://me:secret@jvb --demo", "--demo: \"http://***@jvb\" is neither"),
        ("--url jvb --url http://jvb", "--url: \"jvb\" does not begin with"),
        ("-videobridge-url jvb -url http://jvb", "-videobridge-url: \"jvb\" does not begin with"),
        ("--timeout x --timeout 5", "--timeout: \"x\" is not"),
        ("--web.max-requests 0 --max-scrapes 5", "--web.max-requests: \"0\" is not"),
        ("-debug=maybe", "-debug: \"maybe\" is neither true nor false"),
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
    /// The result for any command line is a configuration, or one line without the password.
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
        match parse(&typed, &[]) {
            Ok(Command::Serve(config) | Command::Once(config)) => {
                prop_assert!((Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&config.timeout));
                for listen in config.listen {
                    prop_assert!(listen.to_string().parse() == Ok(listen));
                }
            }
            Ok(Command::Print(text)) => prop_assert!(text.ends_with('\n')),
            Err(error) => prop_assert!(error.lines().count() == 1 && !error.contains("s3cr3t"), "{}", error),
        }
    }
}

/// Names of options and others.
fn name() -> impl Strategy<Value = String> {
    let names: Vec<_> = cli::OPTIONS.iter().map(|option| option.name).collect();
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
    let remedy = format!(
        "address already in use; another program has it, \"ss -ltnp sport = :{}\"",
        taken.local_addr().unwrap().port()
    );
    assert!(error.contains(&format!("cannot listen on {address}: {remedy}")), "{error}");
    let (code, _, error) = run(&["--listen-address", "203.0.113.1:0"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.ends_with("; no interface of this machine has this address\n"), "{error}");
}

#[test]
fn files_are_named_by_option_and_path() {
    let damaged = std::env::temp_dir().join(format!("jitsiexporter-test-pem-{}", std::process::id()));
    std::fs::write(&damaged, b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----\n").unwrap();
    for (file, complaint) in [
        ("http://me:secret@jvb".into(), "\"http://***@jvb\" cannot be read: no such file or directory"),
        (
            OsString::from_vec(b"/no/such/\xff".into()),
            "\"/no/such/\u{fffd}\" cannot be read: no such file or directory",
        ),
        (damaged.clone().into(), "\" is not valid PEM"),
        (
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into(),
            "/Cargo.toml\" has no PEM certificate (-----BEGIN CERTIFICATE-----)",
        ),
        ("/".into(), "\"/\" cannot be read: is a directory"),
        ("/dev/zero".into(), "\"/dev/zero\" is larger than 4 MiB"),
    ] {
        let (code, _, error) = output(command(&["--ca-file"], &[]).arg(file));
        assert!(
            error.starts_with("jitsiexporter: --ca-file: \"") && error.ends_with(&format!("{complaint}\n")),
            "{error}"
        );
        assert_eq!((code, error.lines().count()), (Some(2), 1), "{error}");
    }
    std::fs::remove_file(&damaged).unwrap();
    // Files are not opened if something else is wrong.
    let (_, _, error) = run(&["--ca-file", "/no/such", "--timeout", "x"]);
    assert!(error.contains("--timeout") && error.lines().count() == 1, "{error}");
}

#[test]
fn errors_of_the_system_are_in_its_own_words() {
    let bridge = FakeBridge::json(CURRENT);
    let mut full = command(&["--once", "--url", &bridge.url()], &[]);
    let (code, _, error) = output(full.stdout(File::create("/dev/full").unwrap()));
    assert_eq!((code, &*error), (Some(1), "jitsiexporter: cannot print: no space left on device\n"));
    // Standard input, output and error are three.
    for descriptors in 4..16 {
        for args in [
            &["--once", "--url", &bridge.url()][..],
            &["--listen-address", "203.0.113.1:0"],
            &["--demo", "--once", "--timeout", "1"],
        ] {
            let mut limited = Process::new("sh");
            limited.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
            limited.arg(command(&[], &[]).get_program()).args(args).env_clear().stdin(Stdio::null());
            let (code, out, error) = output(&mut limited);
            let is_log = error.lines().all(|line| line.starts_with("jitsiexporter: "));
            assert!(matches!(code, Some(0 | 1)) && is_log, "{descriptors} {args:?}: {error}");
            assert!(!error.contains("os error"), "{error}");
            if descriptors >= 6 && args.contains(&"--url") {
                assert!(code == Some(0) && Exposition::of(&out).is_up(), "{descriptors}: {error}");
            }
        }
    }
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
