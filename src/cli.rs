//! Turns the command line and the environment into a [`Config`].
//!
//! [`OPTIONS`] is the table of options: argh's parser and help, the environment, the manual page, the completions and the
//! README are made from it. Unlike Go's `flag`, argh accepts neither `-url` nor `--url=x` nor dots in names, so `read` does. What
//! other exporters' options imply is data in the table. A value comes from the command line, from what the command line implies,
//! from the environment, or from the table, in this order.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::FromArgs;

use crate::bridge::{BridgeUrl, Roots, quoted};
use crate::exporter::MAX_SCRAPES;
use crate::metrics::family::Naming;
use crate::serve::listen::Listen;

/// The version, and the commit it was built from if that is known.
pub const VERSION: &str = env!("JITSIEXPORTER_VERSION");

/// Every shorter timeout fails every scrape.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// No scrape takes an hour: a longer timeout is a mistake in the unit.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// A row of the table of options. Fields that do not apply are empty.
#[derive(Debug)]
pub struct CliOption {
    /// Without dashes.
    pub name: &'static str,
    /// The name of the value in the help. Empty for a switch.
    pub value: &'static str,
    /// The value if none is given.
    pub default: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// One phrase without a full stop.
    pub help: &'static str,
    /// For an option of another exporter: the options of ours that it sets, unless they are typed. `{name}` stands for the value of
    /// that option.
    pub implies: Implied,
}

/// Names of options and their values.
type Implied = &'static [(&'static str, &'static str)];

/// Makes the table, and the struct that argh fills from the rows `values` and `switches`.
macro_rules! options {
    (
        values { $($field:ident $name:tt <$value:tt> $(= $default:tt)? [$variable:tt]: $help:tt;)* }
        switches { $($switch:ident $switch_name:tt $([$switch_variable:tt])?: $switch_help:tt;)* }
        others { $($other:tt $(<$other_value:tt>)? $(= $other_default:tt)? => $implies:expr, $other_help:tt;)* }
    ) => {
        /// All options: our own, then those of other exporters.
        pub static OPTIONS: &[CliOption] = &[
            $(CliOption { name: $name, value: $value, default: concat!($($default)?),
                variable: $variable, help: $help, implies: &[] },)*
            $(CliOption { name: $switch_name, value: "", default: "",
                variable: concat!($($switch_variable)?), help: $switch_help, implies: &[] },)*
            $(CliOption { name: $other, value: concat!($($other_value)?), default: concat!($($other_default)?),
                variable: "", help: $other_help, implies: $implies },)*
        ];

        /// Prometheus exporter for the Jitsi Videobridge.
        #[derive(FromArgs)]
        #[argh(
            name = "jitsiexporter",
            usage = "[--option <value>]...",
            help_triggers("-h", "--help"),
            note = "The variable in brackets sets the same option; the command line wins.",
            note = "The options of jitsiexporter (Go) and prometheus-jitsi-meet-exporter work too.",
            example = "Try it with a simulated bridge:\n  $ {command_name} --demo",
            example = "For a Prometheus on another machine:\n  $ {command_name} --listen-address :9700"
        )]
        struct Args {
            $(
                #[doc = "<"] #[doc = $value] #[doc = "> "] #[doc = $help]
                $(#[doc = " (default "] #[doc = $default] #[doc = ")"])?
                #[doc = " ["] #[doc = $variable] #[doc = "]"]
                #[argh(option, long = $name, default = "String::new()")]
                $field: String,
            )*
            $(
                #[doc = $switch_help] $(#[doc = " ["] #[doc = $switch_variable] #[doc = "]"])?
                #[argh(switch, long = $switch_name)]
                $switch: bool,
            )*
        }
    };
}

/// The names that dashboards for the older exporters expect.
const LEGACY: (&str, &str) = ("legacy-names", "true");
/// Both parts of the address, with Go's defaults.
const HOST_AND_PORT: Implied = &[("listen-address", "[{host}]:{port}"), LEGACY];

options! {
    values {
        url "url" <"URL"> = "http://localhost:8080" ["JITSIEXPORTER_URL"]:
            "URL of the bridge, http or https; without a path, /colibri/stats is asked, and if that is 404, /metrics; user:password@ is basic auth";
        listen_address "listen-address" <"ADDRESS"> = "127.0.0.1:9700" ["JITSIEXPORTER_LISTEN_ADDRESS"]:
            "address to listen on; :9700 is every interface, port 0 picks a free port";
        timeout "timeout" <"DURATION"> = "5s" ["JITSIEXPORTER_TIMEOUT"]:
            "scrape timeout, such as 5s, 500ms or 1m; a number alone is seconds";
        max_scrapes "max-scrapes" <"NUMBER"> = "40" ["JITSIEXPORTER_MAX_SCRAPES"]:
            "limit of concurrent scrapes; above it the response is 503";
        ca_file "ca-file" <"FILE"> ["JITSIEXPORTER_CA_FILE"]:
            "PEM certificates to trust besides the public ones, for a bridge behind an internal CA";
        web_config_file "web-config-file" <"FILE"> ["JITSIEXPORTER_WEB_CONFIG_FILE"]:
            "TLS, client certificates and passwords for the listener, in the format of Prometheus exporters";
    }
    switches {
        legacy_names "legacy-names" ["JITSIEXPORTER_LEGACY_NAMES"]:
            "use the names and units of the older exporters: jitsi_<key>, as the bridge sends it";
        once "once" ["JITSIEXPORTER_ONCE"]:
            "print one scrape as text 0.0.4 and exit, with status 1 if the bridge is not up";
        demo "demo" ["JITSIEXPORTER_DEMO"]:
            "export a simulated bridge";
        version "version":
            "print the version and exit";
    }
    // If several imply the same option, the first wins.
    others {
        // Every Prometheus exporter.
        "web.listen-address" <"ADDRESS"> => &[("listen-address", "{web.listen-address}")], "same as --listen-address";
        "web.config.file" <"FILE"> => &[("web-config-file", "{web.config.file}")], "same as --web-config-file";
        // jitsiexporter (Go).
        "host" <"HOST"> = "localhost" => HOST_AND_PORT, "host to listen on";
        "port" <"PORT"> = "9700" => HOST_AND_PORT, "port to listen on";
        "interval" <"DURATION"> => &[LEGACY], "no effect: each scrape asks the bridge";
        "debug" => &[LEGACY], "no effect";
        // prometheus-jitsi-meet-exporter.
        "videobridge-url" <"URL"> => &[("url", "{videobridge-url}"), ("listen-address", ":9888"), LEGACY], "same as --url";
    }
}

/// What the program is to do.
#[derive(Debug)]
pub enum Command {
    /// Print a text, `--help` or `--version`, and exit.
    Print(String),
    /// Serve until stopped.
    Serve(Config),
    /// Print one scrape and exit.
    Once(Config),
}

/// The values of the options.
#[derive(Debug)]
pub struct Config {
    /// The bridge. None for the simulated one of `--demo`.
    pub url: Option<BridgeUrl>,
    /// Where to listen.
    pub listen: Listen,
    /// The time limit of a fetch.
    pub timeout: Duration,
    /// The limit of concurrent scrapes.
    pub max_scrapes: usize,
    /// Certificates to trust besides the public ones.
    pub roots: Option<Roots>,
    /// TLS, client certificates and passwords for the listener, as in exporter-toolkit.
    pub web_config_file: Option<PathBuf>,
    /// The option that chose legacy names, as it was typed, or its variable.
    pub legacy_names_by: Option<String>,
    /// Options of older exporters that were typed and have no effect.
    pub ignored: Vec<String>,
}

impl Config {
    /// How metrics are named.
    #[must_use]
    pub fn names(&self) -> Naming {
        if self.legacy_names_by.is_some() { Naming::Legacy } else { Naming::Standard }
    }
}

/// Reads the command line (without the program's name) and the environment.
///
/// # Errors
///
/// One line that names the option and the value.
pub fn parse(typed: &[String], environment: impl Fn(&str) -> Option<String>) -> Result<Command, String> {
    let Some(typed) = read(typed)? else { return Ok(Command::Print(help())) };
    typed.iter().try_for_each(check_part)?;
    let own = OPTIONS.iter().filter(|option| option.implies.is_empty());
    let settings: Vec<_> = own.filter_map(|option| resolve(option, &typed, &environment)).collect();
    let mut words = Vec::new();
    for Setting { option, value, source } in &settings {
        match boolean(value) {
            _ if !option.value.is_empty() => words.extend([format!("--{}", option.name), value.clone()]),
            Some(true) => words.push(format!("--{}", option.name)),
            Some(false) => {}
            None => return Err(format!("{source}: {} is neither true nor false", quoted(value))),
        }
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let args = Args::from_args(&["jitsiexporter"], &words).map_err(|exit| exit.output)?;
    if args.version {
        return Ok(Command::Print(format!("jitsiexporter {VERSION}\n")));
    }

    let source = |name| find(&settings, name).map_or(name, |setting| &setting.source);
    if args.demo && source("url").starts_with('-') {
        return Err(format!("--demo brings its own bridge and cannot be combined with {}", source("url")));
    }
    let no_effect = |setting: &&Setting| setting.option.implies == [LEGACY];
    let roots = |file: &str| Roots::read(Path::new(file));
    // Its error quotes the URL without the password.
    let url = |text: &str| BridgeUrl::parse(text).map_err(|error| format!("{}: {error}", source("url")));
    let config = Config {
        url: if args.demo { None } else { Some(url(&args.url)?) },
        listen: convert(source("listen-address"), &args.listen_address, str::parse)?,
        timeout: convert(source("timeout"), &args.timeout, duration)?,
        max_scrapes: convert(source("max-scrapes"), &args.max_scrapes, number_of_scrapes)?,
        roots: given(args.ca_file).map(|file| convert(source("ca-file"), &file, roots)).transpose()?,
        web_config_file: given(args.web_config_file).map(PathBuf::from),
        legacy_names_by: args.legacy_names.then(|| source("legacy-names").to_owned()),
        ignored: typed.iter().filter(no_effect).map(|setting| setting.source.clone()).collect(),
    };
    Ok(if args.once { Command::Once(config) } else { Command::Serve(config) })
}

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    Args::from_args(&["jitsiexporter"], &["--help"]).err().map(|exit| exit.output).unwrap_or_default()
}

/// A value of an option.
struct Setting {
    option: &'static CliOption,
    value: String,
    /// What set it: an option as it was typed, with its dashes, or a variable.
    source: String,
}

fn find<'a>(settings: &'a [Setting], name: &str) -> Option<&'a Setting> {
    settings.iter().find(|setting| setting.option.name == name)
}

/// Reads a command line as Go's `flag` does: one dash or two, the value after a space or `=`, the last one wins. `None` if it
/// asks for help.
fn read(typed: &[String]) -> Result<Option<Vec<Setting>>, String> {
    let mut settings = Vec::new();
    let mut words = typed.iter();
    while let Some(word) = words.next() {
        let (source, inline) = word.split_once('=').map_or((&**word, None), |(source, value)| (source, Some(value)));
        let name = source.strip_prefix("--").or_else(|| source.strip_prefix('-')).unwrap_or_default();
        if matches!(name, "h" | "help") {
            return Ok(None);
        }
        let option = OPTIONS.iter().find(|option| option.name == name);
        let option = option.ok_or_else(|| format!("{} is not an option (see --help)", quoted(source)))?;
        let value = match inline {
            Some(value) => value,
            None if option.value.is_empty() => "true",
            None => words.next().ok_or_else(|| format!("{source} needs a value"))?,
        };
        settings.retain(|setting: &Setting| setting.option.name != name);
        settings.push(Setting { option, value: value.to_owned(), source: source.to_owned() });
    }
    Ok(Some(settings))
}

/// Checks `-host` and `-port`, so that an error quotes what was typed and not the address that is made of both.
fn check_part(Setting { option, value, source }: &Setting) -> Result<(), String> {
    let host =
        |host: &str| format!("[{}]:0", bare(host)).parse::<Listen>().map_err(|_| "is not a host name or IP address");
    let port = |port: &str| port.parse::<u16>().map_err(|_| "is not a port from 0 to 65535");
    match option.value {
        "HOST" => convert(source, value, host).map(drop),
        "PORT" => convert(source, value, port).map(drop),
        _ => Ok(()),
    }
}

/// A host without brackets. jitsiexporter (Go) puts `-host` in front of `:PORT` as it is, so an IPv6 address has them.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The value of an option: typed, implied by another exporter's option, from the environment, or the default.
fn resolve(
    option: &'static CliOption,
    typed: &[Setting],
    environment: impl Fn(&str) -> Option<String>,
) -> Option<Setting> {
    let setting = |value: &str, source: &str| Setting { option, value: value.to_owned(), source: source.to_owned() };
    if let Some(Setting { value, source, .. }) = find(typed, option.name) {
        return Some(setting(value, source));
    }
    for other in OPTIONS {
        let implied = other.implies.iter().find(|(name, _)| *name == option.name);
        if let (Some(Setting { source, .. }), Some((_, template))) = (find(typed, other.name), implied) {
            let value = OPTIONS.iter().fold((*template).to_owned(), |text, option| {
                let value = find(typed, option.name).map_or(option.default, |setting| &setting.value);
                let value = if option.value == "HOST" { bare(value) } else { value };
                text.replace(&format!("{{{}}}", option.name), value)
            });
            return Some(setting(&value, source));
        }
    }
    // An empty variable counts as not set.
    match environment(option.variable).filter(|value| !value.is_empty()) {
        Some(value) => Some(setting(&value, option.variable)),
        None if option.default.is_empty() => None,
        None => Some(setting(option.default, option.name)),
    }
}

fn given(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

/// Converts a value; the error names the option and quotes the value.
fn convert<T, E: Display>(source: &str, value: &str, read: impl Fn(&str) -> Result<T, E>) -> Result<T, String> {
    read(value).map_err(|error| format!("{source}: {} {error}", quoted(value)))
}

/// A number of seconds, or a number with a unit.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        _ => f64::NAN,
    };
    let seconds = number.parse().map_or(f64::NAN, |number: f64| number * unit);
    let duration = Duration::try_from_secs_f64(seconds).ok();
    let duration = duration.filter(|duration| (MIN_TIMEOUT..=MAX_TIMEOUT).contains(duration));
    duration.ok_or("is not a duration from 1ms to 60m, such as 5s")
}

fn number_of_scrapes(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_SCRAPES).contains(number));
    number.ok_or_else(|| format!("is not a number from 1 to {MAX_SCRAPES}"))
}

/// A truth value as Go's `flag` reads it, and as people write it into an environment file.
fn boolean(text: &str) -> Option<bool> {
    match &*text.to_ascii_lowercase() {
        "1" | "t" | "true" | "yes" | "on" => Some(true),
        "0" | "f" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}
