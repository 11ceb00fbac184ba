//! What was typed and what the environment says, read: a [`Config`].
//!
//! The table of options is `Args`: its comments are the help text, the man page and the README's table. argh reads it. It
//! takes neither `-url` nor `--url=x` nor dots, and the launch lines of the two exporters that this program replaces are full
//! of them, so `rewrite` turns what was typed into what argh takes. What a command line implies counts as typed; the
//! environment comes after it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::{ArgsInfo, FlagInfoKind, FromArgs};

use crate::bridge::{BridgeUrl, Roots, quoted};
use crate::exporter::MAX_SCRAPES;
use crate::family::Names;

use crate::listen::Listen;

/// Prometheus exporter for the Jitsi Videobridge. Each GET of /metrics asks the bridge once and answers with everything it
/// said.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    name = "jitsiexporter",
    note = "Every option can be given by the environment variable that stands behind it\n  \
            in brackets; the command line wins. The options of jitsiexporter (Go) and\n  \
            prometheus-jitsi-meet-exporter work as well, with one dash or two.",
    example = "A first look, without a bridge:\n  $ {command_name} --demo",
    example = "For a Prometheus on another machine:\n  $ {command_name} --url http://localhost:8080 --listen-address :9700"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct Args {
    /// the bridge, http or https; without a path /colibri/stats is meant; user:password@ is basic auth (default
    /// http://localhost:8080/colibri/stats) [JITSIEXPORTER_URL]
    #[argh(option, arg_name = "url")]
    url: Option<String>,

    /// where to listen; :9700 is every interface, port 0 picks a port (default 127.0.0.1:9700)
    /// [JITSIEXPORTER_LISTEN_ADDRESS]
    #[argh(option, arg_name = "address")]
    listen_address: Option<String>,

    /// how long the bridge may take to answer (default 5) [JITSIEXPORTER_TIMEOUT]
    #[argh(option, arg_name = "seconds")]
    timeout: Option<String>,

    /// how many scrapes run at once; one more is answered 503 (default 40) [JITSIEXPORTER_MAX_SCRAPES]
    #[argh(option, arg_name = "n")]
    max_scrapes: Option<String>,

    /// PEM file with certificates to trust beside the public ones, for a bridge behind an internal CA
    /// [JITSIEXPORTER_CA_FILE]
    #[argh(option, arg_name = "pem")]
    ca_file: Option<String>,

    /// name the metrics jitsi_<key> and leave their values alone, as older exporters do [JITSIEXPORTER_LEGACY_NAMES]
    #[argh(switch)]
    legacy_names: bool,

    /// TLS, client certificates and passwords for the listener, in the format of Prometheus' exporter-toolkit
    /// [JITSIEXPORTER_WEB_CONFIG_FILE]
    #[argh(option, arg_name = "file")]
    web_config_file: Option<String>,

    /// print one scrape as text 0.0.4 and exit, 1 if the bridge is not up [JITSIEXPORTER_ONCE]
    #[argh(switch)]
    once: bool,

    /// export a sample bridge that this program serves itself, on a loopback port [JITSIEXPORTER_DEMO]
    #[argh(switch)]
    demo: bool,

    /// print the version and exit
    #[argh(switch)]
    version: bool,
}

/// The version, and the commit it was built from if that is known.
pub const VERSION: &str = env!("JITSIEXPORTER_VERSION");

/// Where a bridge is, if nobody says otherwise.
const DEFAULT_URL: &str = "http://localhost:8080/colibri/stats";
/// Where to listen, if nobody says otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:9700";
/// Where prometheus-jitsi-meet-exporter listens, whose option `-videobridge-url` is.
const VIDEOBRIDGE_URL_LISTEN: &str = ":9888";
const DEFAULT_TIMEOUT: &str = "5";
const DEFAULT_MAX_SCRAPES: &str = "40";
/// No scrape takes an hour; a larger number is a mistake in the unit.
const MAX_TIMEOUT: f64 = 3600.0;

/// What the program is to do.
#[derive(Debug)]
pub enum Command {
    /// Print a text, `--help` or `--version`, and exit.
    Print(String),
    /// Serve until it is told to stop.
    Serve(Config),
    /// Print one scrape and exit.
    Once(Config),
}

/// Everything that can be chosen.
#[derive(Debug)]
pub struct Config {
    /// The bridge, or none for the one of `--demo`.
    pub url: Option<BridgeUrl>,
    /// Where to listen.
    pub listen: Listen,
    /// The budget of a fetch.
    pub timeout: Duration,
    /// How many scrapes run at once.
    pub max_scrapes: usize,
    /// Certificates to trust beside the public ones.
    pub roots: Option<Roots>,
    /// TLS, client certificates and passwords for the listener, as in exporter-toolkit.
    pub web_config_file: Option<PathBuf>,
    /// What was typed that chose legacy names, if they were chosen.
    pub legacy_names_by: Option<String>,
    /// Options of the older exporters that were typed and do nothing here.
    pub ignored: Vec<String>,
}

impl Config {
    /// How metrics are called.
    #[must_use]
    pub fn names(&self) -> Names {
        if self.legacy_names_by.is_some() { Names::Legacy } else { Names::Standard }
    }
}

/// One option, for whoever writes about them: the man page, the README, the shells' completions.
#[derive(Clone, Debug)]
pub struct OptionInfo {
    /// The name with its dashes.
    pub name: String,
    /// What the value is called; none for a switch.
    pub value: Option<String>,
    /// What it does.
    pub description: String,
    /// The default value.
    pub default: Option<String>,
    /// The environment variable.
    pub variable: Option<String>,
}

/// The table of options.
#[must_use]
pub fn options() -> Vec<OptionInfo> {
    let flags = Args::get_args_info().flags.iter();
    let options = flags.map(|flag| {
        let take = |text: &str, open: &str, close: char| {
            let (before, rest) = text.split_once(open)?;
            let (inside, _) = rest.split_once(close)?;
            Some((before.to_owned(), inside.to_owned()))
        };
        let text = flag.description;
        let (text, variable) = take(text, " [", ']').map_or((text.to_owned(), None), |(text, name)| (text, Some(name)));
        let (text, default) = take(&text, " (default ", ')').map_or((text, None), |(text, value)| (text, Some(value)));
        let value = match flag.kind {
            FlagInfoKind::Option { arg_name } => Some(arg_name.to_owned()),
            FlagInfoKind::Switch => None,
        };
        OptionInfo { name: flag.long.to_owned(), value, description: text, default, variable }
    });
    options.collect()
}

/// What `--help` prints: what argh says, wrapped where it does not wrap.
#[must_use]
pub fn help() -> String {
    let text = Args::from_args(&["jitsiexporter"], &["--help"]).err().map(|exit| exit.output).unwrap_or_default();
    text.lines().map(|line| if line.len() > HELP_WIDTH { wrap(line) } else { format!("{line}\n") }).collect()
}

/// What every terminal shows without breaking lines.
const HELP_WIDTH: usize = 80;

/// Breaks a line between words; of a usage line, not within the brackets of an option.
fn wrap(line: &str) -> String {
    let indent = if line.starts_with("Usage:") { " ".repeat("Usage: jitsiexporter ".len()) } else { String::new() };
    let mut wrapped = String::new();
    let mut width = 0;
    for word in line.replace(" <", "\u{a0}<").split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > HELP_WIDTH {
            wrapped.push('\n');
            wrapped.push_str(&indent);
            width = indent.len();
        } else if width > 0 {
            wrapped.push(' ');
            width += 1;
        }
        wrapped.push_str(word);
        width += length;
    }
    wrapped.push('\n');
    wrapped.replace('\u{a0}', " ")
}

/// Reads the command line (without the program's name) and the environment.
///
/// # Errors
///
/// One line that names the option and the value.
pub fn parse(typed: &[String], environment: impl Fn(&str) -> Option<String>) -> Result<Command, String> {
    let mut launch = rewrite(typed)?;
    launch.complete(environment)?;
    let args: Vec<_> = launch.args.iter().flat_map(|arg| [Some(&*arg.name), arg.value.as_deref()]).flatten().collect();
    let args = match Args::from_args(&["jitsiexporter"], &args) {
        Ok(args) if args.version => return Ok(Command::Print(format!("jitsiexporter {VERSION}\n"))),
        Ok(args) => args,
        Err(exit) if exit.status.is_ok() => return Ok(Command::Print(help())),
        Err(exit) => return Err(exit.output.trim().lines().collect::<Vec<_>>().join(" ")),
    };

    let wrong = |option: &str, value: &str, what: &str| format!("{}: {} {what}", launch.source(option), quoted(value));
    let url = match &args.url {
        Some(_) if args.demo && launch.was_typed("--url") => {
            return Err(format!("--demo brings a bridge of its own and does not go with {}", launch.source("--url")));
        }
        _ if args.demo => None,
        // The value may hold a password, so it is quoted by the one who knows what of it to leave out.
        url => Some(
            BridgeUrl::parse(url.as_deref().unwrap_or(DEFAULT_URL))
                .map_err(|error| format!("{}: {error}", launch.source("--url")))?,
        ),
    };
    let listen = args.listen_address.as_deref().unwrap_or(DEFAULT_LISTEN);
    let listen = listen.parse().map_err(|what| wrong("--listen-address", listen, what))?;
    let timeout = args.timeout.as_deref().unwrap_or(DEFAULT_TIMEOUT);
    let seconds = timeout.parse().ok().filter(|seconds| (0.001..=MAX_TIMEOUT).contains(seconds));
    let seconds =
        seconds.ok_or_else(|| wrong("--timeout", timeout, "is not a number of seconds from 0.001 to 3600"))?;
    let scrapes = args.max_scrapes.as_deref().unwrap_or(DEFAULT_MAX_SCRAPES);
    let max_scrapes = scrapes.parse().ok().filter(|number| (1..=MAX_SCRAPES).contains(number));
    let max_scrapes = max_scrapes
        .ok_or_else(|| wrong("--max-scrapes", scrapes, &format!("is not a number from 1 to {MAX_SCRAPES}")))?;
    let roots = args.ca_file.as_deref().map(|file| Roots::read(Path::new(file)).map_err(|error| (file, error)));
    let roots =
        roots.transpose().map_err(|(file, error)| wrong("--ca-file", file, &format!("cannot be used: {error}")))?;

    let legacy_names_by = args.legacy_names.then(|| launch.source("--legacy-names").to_owned());
    let timeout = Duration::from_secs_f64(seconds);
    let web_config_file = args.web_config_file.map(PathBuf::from);
    let ignored = launch.ignored;
    let config = Config { url, listen, timeout, max_scrapes, roots, web_config_file, legacy_names_by, ignored };
    Ok(if args.once { Command::Once(config) } else { Command::Serve(config) })
}

/// An option as argh takes it, and where it comes from.
#[derive(Debug)]
struct Arg {
    name: String,
    value: Option<String>,
    /// As it was typed, or the environment variable.
    source: String,
    typed: bool,
}

/// A command line in terms of our own options.
#[derive(Debug, Default)]
struct Launch {
    args: Vec<Arg>,
    /// Switches that were typed as `--switch=false`.
    off: Vec<String>,
    ignored: Vec<String>,
}

impl Launch {
    fn find(&self, name: &str) -> Option<&Arg> {
        self.args.iter().find(|arg| arg.name == name)
    }

    fn was_typed(&self, name: &str) -> bool {
        self.find(name).is_some_and(|arg| arg.typed)
    }

    /// What an error message calls an option.
    fn source<'a>(&'a self, name: &'a str) -> &'a str {
        self.find(name).map_or(name, |arg| &arg.source)
    }

    /// Of an option that is given twice the last counts, as in Go.
    fn set(&mut self, name: &str, value: Option<String>, source: &str) {
        self.args.retain(|arg| arg.name != name);
        self.args.push(Arg { name: name.to_owned(), value, source: source.to_owned(), typed: true });
    }

    fn imply(&mut self, name: &str, value: Option<&str>, source: &str) {
        if self.find(name).is_none() && !self.off.iter().any(|off| off == name) {
            self.set(name, value.map(str::to_owned), source);
        }
    }

    /// Adds what the environment says of options that the command line is silent about. An empty variable says nothing.
    fn complete(&mut self, environment: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        for option in options() {
            let Some(variable) = option.variable else { continue };
            if self.find(&option.name).is_some() || self.off.contains(&option.name) {
                continue;
            }
            let Some(value) = environment(&variable).filter(|value| !value.is_empty()) else { continue };
            let value = match option.value {
                Some(_) => Some(value),
                None if boolean(&value)
                    .ok_or_else(|| format!("{variable}: {} is neither true nor false", quoted(&value)))? =>
                {
                    None
                }
                None => continue,
            };
            self.args.push(Arg { name: option.name, value, source: variable, typed: false });
        }
        Ok(())
    }
}

/// What an option of the older exporters means here.
enum Replaced {
    /// The same as one of ours.
    Same(&'static str),
    /// Part of the address to listen on.
    Host,
    Port,
    /// Nothing; with a value or without.
    IgnoredValue,
    IgnoredSwitch,
}

/// Options that other exporters have. Those of the older Jitsi exporters imply legacy names; those that all Prometheus
/// exporters share (`-web.*`) imply nothing.
fn replaced(name: &str) -> Option<Replaced> {
    Some(match name {
        // prometheus-jitsi-meet-exporter
        "videobridge-url" => Replaced::Same("--url"),
        "web.listen-address" => Replaced::Same("--listen-address"),
        "web.config.file" => Replaced::Same("--web-config-file"),
        // jitsiexporter (Go)
        "host" => Replaced::Host,
        "port" => Replaced::Port,
        "interval" => Replaced::IgnoredValue,
        "debug" => Replaced::IgnoredSwitch,
        _ => return None,
    })
}

/// Turns what was typed into our own options: one dash or two, a value behind a space or `=`, and the options of the older
/// exporters with what they imply.
fn rewrite(typed: &[String]) -> Result<Launch, String> {
    let table = options();
    let mut launch = Launch::default();
    let (mut host, mut port) = (None::<(String, String)>, None::<(String, String)>);
    let (mut legacy, mut videobridge_url) = (None, None);
    let mut rest = typed.iter();
    while let Some(word) = rest.next() {
        let (option, inline) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (&**word, None),
        };
        let bare = option.strip_prefix("--").or_else(|| option.strip_prefix('-')).unwrap_or_default();
        if bare.is_empty() {
            return Err(format!("{} is not an option (see --help)", quoted(word)));
        }
        if matches!(bare, "h" | "help") {
            launch.set("--help", None, option);
            continue;
        }
        let own = table.iter().find(|own| own.name.strip_prefix("--") == Some(bare));
        let old = if own.is_none() { replaced(bare) } else { None };
        let takes_value = match (own, &old) {
            (Some(own), _) => own.value.is_some(),
            (None, Some(old)) => !matches!(old, Replaced::IgnoredSwitch),
            (None, None) => return Err(format!("{} is not an option (see --help)", quoted(option))),
        };
        let (value, on) = if takes_value {
            let value = inline.or_else(|| rest.next().cloned());
            (Some(value.ok_or_else(|| format!("{option} needs a value"))?), true)
        } else {
            let on = inline.map_or(Ok(true), |text| {
                boolean(&text).ok_or_else(|| format!("{option}: {} is neither true nor false", quoted(&text)))
            });
            (None, on?)
        };

        if old.is_some() && !bare.starts_with("web.") {
            legacy = Some(option.to_owned());
        }
        match (own, old) {
            (Some(own), _) if on => launch.set(&own.name, value, option),
            (Some(own), _) => {
                launch.args.retain(|arg| arg.name != own.name);
                launch.off.push(own.name.clone());
            }
            (None, Some(Replaced::Same(name))) => {
                if name == "--url" {
                    videobridge_url = Some(option.to_owned());
                }
                launch.set(name, value, option);
            }
            (None, Some(Replaced::Host)) => host = value.map(|value| (value, option.to_owned())),
            (None, Some(Replaced::Port)) => port = value.map(|value| (value, option.to_owned())),
            (None, _) => launch.ignored.push(option.to_owned()),
        }
    }

    if let Some((_, source)) = host.as_ref().or(port.as_ref()) {
        let source = source.clone();
        let host = host.map_or_else(|| "localhost".to_owned(), |(host, _)| host);
        let port = port.map_or_else(|| "9700".to_owned(), |(port, _)| port);
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        launch.imply("--listen-address", Some(&format!("{host}:{port}")), &source);
    }
    if let Some(source) = videobridge_url {
        launch.imply("--listen-address", Some(VIDEOBRIDGE_URL_LISTEN), &source);
    }
    if let Some(source) = legacy {
        launch.imply("--legacy-names", None, &source);
    }
    Ok(launch)
}

/// A truth as Go's `flag` reads it, and as people write it into an environment file.
fn boolean(text: &str) -> Option<bool> {
    match &*text.to_ascii_lowercase() {
        "1" | "t" | "true" | "yes" | "on" => Some(true),
        "0" | "f" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{HELP_WIDTH, wrap};

    #[test]
    fn lines_are_broken_where_the_terminal_ends() {
        let x = |length: usize| "x".repeat(length);
        let indent = " ".repeat("Usage: jitsiexporter ".len());
        let rest = HELP_WIDTH - indent.len();
        for (line, wrapped) in [
            (format!("{} {}", x(40), x(39)), format!("{} {}\n", x(40), x(39))),
            (format!("{} {}", x(40), x(40)), format!("{}\n{}\n", x(40), x(40))),
            (x(81), x(81) + "\n"),
            (format!("Usage: {} [--a <b>]", x(70)), format!("Usage: {}\n{indent}[--a <b>]\n", x(70))),
            // The indent is part of the width.
            (format!("Usage: {} {} b", x(70), x(rest)), format!("Usage: {}\n{indent}{}\n{indent}b\n", x(70), x(rest))),
            (format!("Usage: {} {} b", x(70), x(rest - 2)), format!("Usage: {}\n{indent}{} b\n", x(70), x(rest - 2))),
        ] {
            assert_eq!(wrap(&line), wrapped);
        }
    }
}
