//! Text from people and clients: command lines, the environment, URLs and `Accept` headers. Nothing panics, errors are one line,
//! and no password is shown.

#![no_main]

use std::time::Duration;

use jitsiexporter::cli::{self, Command, MAX_SCRAPES, PREFIX};
use jitsiexporter::metrics::format::Format;
use libfuzzer_sys::fuzz_target;

/// Part of every password.
const SECRET: &str = "s3cr3t";

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    accept(&text);
    let lines: Vec<_> = text.split('\n').map(str::to_owned).collect();
    url(&lines[0]);
    command_line(&lines);
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

fn url(line: &str) {
    // A password is between the colon after the user and the last @ before the host.
    let Some((scheme, rest)) = line.split_once("://") else { return };
    let Some((user, host)) = rest.rsplit_once('@') else { return };
    // The fuzzer may learn this word and use it elsewhere than in a password.
    if line.contains(SECRET) {
        return;
    }
    let url = format!("{scheme}://{user}:{SECRET}@{host}");
    for typed in [vec!["--url".to_owned(), url.clone()], vec![format!("-videobridge-url={url}")]] {
        let shown = match cli::parse(&typed, &[]) {
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
        if let Err(error) = cli::parse(&[typed], &[]) {
            assert!(!error.contains(SECRET), "{error}");
        }
    }
    if let Err(error) = cli::parse(&[], &[("JITSIEXPORTER_URL".to_owned(), url)]) {
        one_line(&error);
        assert!(error.starts_with("JITSIEXPORTER_URL: ") && !error.contains(SECRET), "{error}");
    }
}

fn command_line(lines: &[String]) {
    // Lines that begin with the prefix are variables, the others are arguments.
    let (variables, typed): (Vec<_>, Vec<_>) = lines.iter().cloned().partition(|line| line.starts_with(PREFIX));
    let variables = variables.iter().filter_map(|line| line.split_once('='));
    let variables: Vec<_> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match cli::parse(&typed, &variables) {
        Ok(Command::Serve(config) | Command::Once(config)) => {
            assert!(config.timeout > Duration::ZERO && config.timeout <= Duration::from_secs(3600));
            assert!((1..=MAX_SCRAPES).contains(&config.max_scrapes));
            assert!(config.notices.iter().all(|notice| !notice.contains('\n')), "{:?}", config.notices);
            // The addresses that are displayed can be typed.
            let again = config.listen.iter().flat_map(|listen| ["--listen-address".to_owned(), listen.to_string()]);
            let again: Vec<_> = again.collect();
            match cli::parse(&again, &[]) {
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
