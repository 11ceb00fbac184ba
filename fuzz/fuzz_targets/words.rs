//! Text from people and clients: command lines, the environment, URLs, `Accept` and timeout headers. Nothing panics, errors are
//! one line, and no password is shown.

#![no_main]

use std::time::Duration;

use jitsiexporter::cli::{self, Command};
use jitsiexporter::exporter::{MAX_SCRAPES, budget};
use jitsiexporter::metrics::format::Format;
use libfuzzer_sys::fuzz_target;

/// Part of every password.
const SECRET: &str = "s3cr3t";

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    accept(&text);
    timeout(&text);
    let lines: Vec<_> = text.split('\n').map(str::to_owned).collect();
    timeout(&lines[0]);
    url(&lines[0]);
    // Reading certificates from a device may block.
    if !text.contains("/dev") && !text.contains("/proc") {
        command_line(&lines);
    }
});

fn accept(header: &str) {
    let lower = header.to_ascii_lowercase();
    let format = Format::negotiate(header);
    assert_eq!(format, Format::negotiate(&lower.to_ascii_uppercase()), "upper case changes the format");
    if format == Format::Text {
        let asked = lower.contains("text/") || lower.contains("*/*");
        assert!(asked || lower.trim().is_empty(), "text was not asked for");
    }
}

fn timeout(header: &str) {
    let usual = Duration::from_secs(5);
    let budget = budget(header, usual);
    assert!(budget > Duration::ZERO && budget <= usual, "{budget:?}");
    match header.trim().parse::<f64>() {
        Ok(seconds) if seconds >= 1e-8 => assert!(budget.as_secs_f64() <= seconds, "{budget:?}"),
        _ => assert!(budget == usual || header.trim().parse::<f64>().is_ok(), "{header:?} is not a number"),
    }
}

fn url(line: &str) {
    // A password is between the colon after the user and the last @ before the host.
    let Some((scheme, rest)) = line.split_once("://") else { return };
    let Some((user, host)) = rest.rsplit_once('@') else { return };
    // The fuzzer learns the word, and writes it where it is not a password.
    if line.contains(SECRET) {
        return;
    }
    let url = format!("{scheme}://{user}:{SECRET}@{host}");
    for typed in [vec!["--url".to_owned(), url.clone()], vec![format!("-videobridge-url={url}")]] {
        let shown = match cli::parse(&typed, |_| None) {
            Ok(Command::Serve(config)) => format!("{} {config:?}", config.url.as_ref().expect("one was given")),
            Ok(other) => panic!("{typed:?} is {other:?}"),
            Err(error) => {
                one_line(&error);
                error
            }
        };
        assert!(!shown.contains(SECRET), "{typed:?}: {shown}");
    }
    // URLs in the wrong place.
    for option in ["", "--listen-address", "--timeout", "--max-scrapes", "--ca-file", "-host", "--demo"] {
        let typed = if option.is_empty() { url.clone() } else { format!("{option}={url}") };
        if let Err(error) = cli::parse(&[typed], |_| None) {
            assert!(!error.contains(SECRET), "{error}");
        }
    }
    let environment = |name: &str| (name == "JITSIEXPORTER_URL").then(|| url.clone());
    if let Err(error) = cli::parse(&[], environment) {
        one_line(&error);
        assert!(error.starts_with("JITSIEXPORTER_URL: ") && !error.contains(SECRET), "{error}");
    }
}

fn command_line(lines: &[String]) {
    // Lines that begin with JITSI are variables, the others are arguments.
    let (environment, typed): (Vec<_>, Vec<_>) = lines.iter().cloned().partition(|line| line.starts_with("JITSI"));
    let environment = |name: &str| {
        let mut values = environment.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        values.next().map(str::to_owned)
    };
    match cli::parse(&typed, environment) {
        Ok(Command::Serve(config) | Command::Once(config)) => {
            assert!(config.timeout > Duration::ZERO && config.timeout <= Duration::from_secs(3600));
            assert!((1..=MAX_SCRAPES).contains(&config.max_scrapes));
            // The address that is displayed can be typed.
            let again = ["--listen-address".to_owned(), config.listen.to_string()];
            match cli::parse(&again, |_| None) {
                Ok(Command::Serve(again)) => assert_eq!(again.listen, config.listen),
                other => panic!("{again:?}: {other:?}"),
            }
        }
        Ok(Command::Print(text)) => assert!(text.ends_with('\n')),
        Err(error) => one_line(&error),
    }
}

fn one_line(error: &str) {
    assert!(!error.trim().is_empty() && !error.contains('\n'), "not one line: {error:?}");
}
