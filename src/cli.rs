//! Turns the command line and the environment into a [`Config`].
//!
//! [`OPTIONS`] is the table of options: the parser, argh's help, the environment, the manual page, the completions and the README
//! are made from it. Go's `flag` accepts `-url`, `--url=x` and dots in names; argh does not, so it is used for the help only. The
//! table also says which options are implied by the options of other exporters. The value of an option is the first of: what was
//! typed, what other typed options imply, the environment variable, the default.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;
use strsim::osa_distance;

use crate::bridge::BridgeUrl;
use crate::metrics::family::Naming;
use crate::serve::MAX_CONNECTIONS;
use crate::serve::listen::Listen;
use crate::words::quoted;

/// The version, and the commit it was built from if that is known.
pub const VERSION: &str = env!("BUILD_VERSION");

/// With a shorter timeout every scrape would fail.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// No scrape takes an hour, so a longer timeout is a mistake, probably in the unit.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// The upper limit of `--max-scrapes`. It is below the limit on connections, so that a scrape too many can be answered with 503.
pub const MAX_SCRAPES: usize = 100;

const _: () = assert!(MAX_SCRAPES < MAX_CONNECTIONS);

/// The prefix of the variables.
pub const PREFIX: &str = "JITSIEXPORTER_";

/// A row of the table of options. Fields that do not apply are empty.
#[derive(Debug)]
pub struct CliOption {
    /// Without dashes.
    pub name: &'static str,
    /// The name of the value in the help. Empty for a switch.
    pub value: &'static str,
    /// The default.
    pub default: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// One phrase without a full stop.
    pub help: &'static str,
    /// Whether it may be given several times. Otherwise the last one counts.
    pub repeats: bool,
    /// For an option of another exporter: the options of this one that it sets, unless they are typed, with their values. In a
    /// value, `{name}` stands for the value of the option of that name. `{}` is the option's own value: the two are names of one
    /// option.
    pub implies: Implied,
    /// For a value that is only a part of the implied value: checks the part, so that an error quotes what was typed. The result
    /// replaces the placeholder.
    pub part: Option<Part>,
}

/// Names of options and their values.
type Implied = &'static [(&'static str, &'static str)];

/// Reads a part of a value; the error is what is wrong with it.
type Part = fn(&str) -> Result<&str, &'static str>;

impl CliOption {
    /// A switch that is not in the table of options.
    #[must_use]
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self { name, value: "", default: "", variable: "", help, repeats: false, implies: &[], part: None }
    }

    /// The name of the option that this is another name of, or its own name.
    fn canonical(&self) -> &'static str {
        self.implies.iter().find(|(_, value)| *value == "{}").map_or(self.name, |(name, _)| name)
    }
}

/// A host for an address, without brackets. For jitsiexporter (Go), an IPv6 address in `-host` needs brackets, because it puts the
/// value in front of `:PORT` unchanged.
fn host(text: &str) -> Result<&str, &'static str> {
    let host = text.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(text);
    let is_host = format!("[{host}]:0").parse::<Listen>().is_ok();
    if is_host { Ok(host) } else { Err("is not a host name or IP address") }
}

fn port(text: &str) -> Result<&str, &'static str> {
    text.parse::<u16>().map(|_| text).map_err(|_| "is not a port from 0 to 65535")
}

/// Makes the table of options, and the struct from which argh makes the help.
macro_rules! options {
    (
        values { $($field:ident $name:tt <$value:tt> $(= $default:tt)? [$variable:tt]: $help:tt $($repeats:ident)?;)* }
        switches { $($switch:ident $switch_name:tt $([$switch_variable:tt])?: $switch_help:tt;)* }
        others { $($other:tt $(<$other_value:tt>)? $(= $other_default:tt)? $($part:ident)? => $implies:expr, $other_help:tt;)* }
    ) => {
        /// All options: those of this exporter, then those of other exporters.
        pub static OPTIONS: &[CliOption] = &[
            $(CliOption { value: $value, default: concat!($($default)?), variable: $variable,
                repeats: !concat!($(stringify!($repeats))?).is_empty(), ..CliOption::switch($name, $help) },)*
            $(CliOption { variable: concat!($($switch_variable)?), ..CliOption::switch($switch_name, $switch_help) },)*
            $(CliOption { value: concat!($($other_value)?), default: concat!($($other_default)?), implies: $implies,
                $(part: Some($part),)? ..CliOption::switch($other, $other_help) },)*
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
        #[expect(dead_code, reason = "argh makes the help from the fields")]
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

/// Selects the names that dashboards for the older exporters expect.
const LEGACY: (&str, &str) = ("legacy-names", "true");
/// Both parts of the address, with Go's defaults.
const HOST_AND_PORT: Implied = &[("listen-address", "[{host}]:{port}"), LEGACY];

options! {
    values {
        url "url" <"URL"> = "http://localhost:8080" ["JITSIEXPORTER_URL"]:
            "URL of the bridge, http or https; without a path, /colibri/stats is asked, and if that is 404, /metrics; user:password@ is basic auth";
        listen_address "listen-address" <"ADDRESS"> = "127.0.0.1:9700" ["JITSIEXPORTER_LISTEN_ADDRESS"]:
            "address to listen on; :9700 is every interface, port 0 picks a free port; can be repeated (variable: separated by commas)" repeats;
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
            "use the legacy names of the older exporters: jitsi_<key>, in the bridge's own units";
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
        "web.listen-address" <"ADDRESS"> => &[("listen-address", "{}")], "same as --listen-address";
        "web.config.file" <"FILE"> => &[("web-config-file", "{}")], "same as --web-config-file";
        "web.max-requests" <"NUMBER"> => &[("max-scrapes", "{}")], "same as --max-scrapes";
        // jitsiexporter (Go).
        "host" <"HOST"> = "localhost" host => HOST_AND_PORT, "host to listen on";
        "port" <"PORT"> = "9700" port => HOST_AND_PORT, "port to listen on";
        "interval" <"DURATION"> => &[LEGACY], "no effect: each scrape asks the bridge";
        "debug" => &[LEGACY], "no effect";
        // prometheus-jitsi-meet-exporter.
        "videobridge-url" <"URL"> => &[("url", "{}"), ("listen-address", ":9888"), LEGACY], "same as --url";
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
    pub listen: Vec<Listen>,
    /// The time limit of a fetch.
    pub timeout: Duration,
    /// The limit of concurrent scrapes.
    pub max_scrapes: usize,
    /// Certificates to trust besides the public ones, and the option that names the file.
    pub ca_file: Option<(PathBuf, String)>,
    /// TLS, client certificates and passwords for the listener, as in exporter-toolkit.
    pub web_config_file: Option<PathBuf>,
    /// The option that chose legacy names, as it was typed, or its variable.
    pub legacy_names_by: Option<String>,
    /// Lines for the log about options and variables that have no effect.
    pub notices: Vec<String>,
}

impl Config {
    /// How metrics are named.
    #[must_use]
    pub fn names(&self) -> Naming {
        if self.legacy_names_by.is_some() { Naming::Legacy } else { Naming::Standard }
    }
}

/// Reads the command line (without the program's name) and the variables that begin with [`PREFIX`].
///
/// # Errors
///
/// One line that names the option and the value.
pub fn parse(typed: &[String], variables: &[(String, String)]) -> Result<Command, String> {
    let Some(typed) = read(typed)? else { return Ok(Command::Print(help())) };
    // As for Go's `flag`, also those that have no effect because another one wins.
    typed.iter().try_for_each(check)?;
    let own = OPTIONS.iter().filter(|option| option.implies.is_empty());
    let settings: Vec<_> = own.flat_map(|option| resolve(option, &typed, variables)).collect();
    let all = |name: &'static str| settings.iter().filter(move |setting| setting.option.name == name);
    let given = |name| all(name).next().filter(|setting| !setting.value.is_empty());
    // Options with a default always have a value.
    let value = |name| all(name).next().ok_or_else(|| format!("--{name} has no value"));
    // Switches are checked even if their value is not used.
    for setting in settings.iter().filter(|setting| setting.option.value.is_empty()) {
        convert(setting, switch)?;
    }
    let is_on = |name| all(name).next().filter(|setting| boolean(&setting.value) == Some(true));
    if is_on("version").is_some() {
        return Ok(Command::Print(format!("jitsiexporter {VERSION}\n")));
    }

    let url = value("url")?;
    let is_demo = is_on("demo").is_some();
    if is_demo && url.is_typed() {
        return Err(format!("--demo brings its own bridge and cannot be combined with {}", url.source));
    }
    let mut listen = Vec::new();
    for setting in all("listen-address") {
        listen.push(convert(setting, str::parse)?);
    }
    let config = Config {
        url: if is_demo { None } else { Some(parse_url(url)?) },
        listen,
        timeout: convert(value("timeout")?, duration)?,
        max_scrapes: convert(value("max-scrapes")?, number_of_scrapes)?,
        ca_file: given("ca-file").map(|setting| (PathBuf::from(&setting.value), setting.source.clone())),
        web_config_file: given("web-config-file").map(|setting| PathBuf::from(&setting.value)),
        legacy_names_by: is_on("legacy-names").map(|setting| setting.source.clone()),
        notices: [without_effect(&typed), overridden(&typed), unknown(variables)].into_iter().flatten().collect(),
    };
    Ok(if is_on("once").is_some() { Command::Once(config) } else { Command::Serve(config) })
}

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    Args::from_args(&["jitsiexporter"], &["--help"]).err().map(|exit| exit.output).unwrap_or_default()
}

/// A value of an option.
#[derive(Clone)]
struct Setting {
    option: &'static CliOption,
    /// The option that was typed, which may be another name of `option`.
    typed: &'static CliOption,
    value: String,
    /// Where the value comes from: the option as it was typed, with its dashes, or the variable.
    source: String,
}

impl Setting {
    fn new(option: &'static CliOption, value: &str, source: &str) -> Self {
        Self { option, typed: option, value: value.to_owned(), source: source.to_owned() }
    }

    /// Whether the value comes from the command line.
    fn is_typed(&self) -> bool {
        self.source.starts_with('-')
    }
}

fn find(name: &str) -> Option<&'static CliOption> {
    OPTIONS.iter().find(|option| option.name == name)
}

/// The last typed option of this name.
fn last<'a>(typed: &'a [Setting], name: &str) -> Option<&'a Setting> {
    typed.iter().rfind(|setting| setting.typed.name == name)
}

/// Reads a command line as Go's `flag` does: one dash or two, the value after a space or `=`. `None` if it asks for help.
fn read(typed: &[String]) -> Result<Option<Vec<Setting>>, String> {
    let mut settings = Vec::new();
    let mut words = typed.iter();
    while let Some(word) = words.next() {
        let (source, inline) = word.split_once('=').map_or((&**word, None), |(source, value)| (source, Some(value)));
        let name = source.strip_prefix("--").or_else(|| source.strip_prefix('-')).unwrap_or_default();
        if matches!(name, "h" | "help") {
            return Ok(None);
        }
        let typed = find(name).ok_or_else(|| {
            let names = OPTIONS.iter().map(|option| option.name);
            let meant = nearest(name, names).map(|name| format!("; did you mean --{name}?"));
            // A URL in the wrong place may have an equals sign in its password.
            let is_option = source.starts_with('-') && !source.contains(':');
            let shown = quoted(if is_option { source } else { word });
            format!("{shown} is not an option (see --help){}", meant.unwrap_or_default())
        })?;
        let value = match inline {
            Some(value) => value,
            None if typed.value.is_empty() => "true",
            None => words.next().ok_or_else(|| format!("{source} needs a value"))?,
        };
        let option = find(typed.canonical()).unwrap_or(typed);
        settings.push(Setting { typed, ..Setting::new(option, value, source) });
    }
    Ok(Some(settings))
}

/// The values of an option: typed, implied by another exporter's option, from the environment, or the default. There is more than
/// one only if the option can be repeated.
fn resolve(option: &'static CliOption, typed: &[Setting], variables: &[(String, String)]) -> Vec<Setting> {
    let mut own: Vec<_> = typed.iter().filter(|setting| setting.option.name == option.name).cloned().collect();
    if !own.is_empty() {
        return if option.repeats { own } else { own.split_off(own.len() - 1) };
    }
    for other in OPTIONS {
        let implied = other.implies.iter().find(|(name, _)| *name == option.name);
        if let (Some(setting), Some((_, template))) = (last(typed, other.name), implied) {
            return vec![Setting::new(option, &fill(template, typed), &setting.source)];
        }
    }
    let variable = variables.iter().find(|(name, _)| !name.is_empty() && name == option.variable);
    let text = variable.map_or("", |(_, value)| value);
    let values = text.split(|letter| option.repeats && letter == ',');
    // Values from files and Secrets often end in a line break. An empty variable counts as not set.
    let values = values.map(str::trim).filter(|value| !value.is_empty());
    let values: Vec<_> = values.map(|value| Setting::new(option, value, option.variable)).collect();
    if values.is_empty() && !option.default.is_empty() {
        return vec![Setting::new(option, option.default, option.name)];
    }
    values
}

/// Replaces each `{name}` by the value of that option. A value is not searched for placeholders.
fn fill(template: &str, typed: &[Setting]) -> String {
    let mut parts = template.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (name, rest) in parts.filter_map(|part| part.split_once('}')) {
        let value = match (last(typed, name), find(name)) {
            (Some(Setting { value, typed, .. }), _) => typed.part.and_then(|part| part(value).ok()).unwrap_or(value),
            (None, option) => option.map_or("", |option| option.default),
        };
        text.extend([value, rest]);
    }
    text
}

/// Converts a value; the error names the option and quotes the value.
fn convert<'a, T, E: Display>(setting: &'a Setting, read: impl Fn(&'a str) -> Result<T, E>) -> Result<T, String> {
    let Setting { value, source, .. } = setting;
    read(value).map_err(|error| format!("{source}: {} {error}", quoted(value)))
}

/// Reads a URL; the error names the option and quotes the URL without credentials.
fn parse_url(setting: &Setting) -> Result<BridgeUrl, String> {
    BridgeUrl::parse(&setting.value).map_err(|error| format!("{}: {error}", setting.source))
}

/// Checks the value of a typed option.
fn check(setting: &Setting) -> Result<(), String> {
    match (setting.typed.part, setting.option.name) {
        (Some(part), _) => convert(setting, part).map(drop),
        (None, "url") => parse_url(setting).map(drop),
        (None, "listen-address") => convert(setting, str::parse::<Listen>).map(drop),
        (None, "timeout") => convert(setting, duration).map(drop),
        (None, "max-scrapes") => convert(setting, number_of_scrapes).map(drop),
        _ if setting.option.value.is_empty() => convert(setting, switch).map(drop),
        _ => Ok(()),
    }
}

/// The line about typed options of older exporters that have no effect.
fn without_effect(typed: &[Setting]) -> Option<String> {
    let mut sources: Vec<_> =
        typed.iter().filter(|setting| setting.typed.implies == [LEGACY]).map(|setting| &*setting.source).collect();
    sources.dedup();
    (!sources.is_empty()).then(|| format!("no effect: {} (each scrape asks the bridge)", sources.join(", ")))
}

/// The line about typed options that have no effect because another typed option wins.
fn overridden(typed: &[Setting]) -> Option<String> {
    let shown = |setting: &Setting| match setting.option.value {
        "" => format!("{}={}", setting.source, setting.value),
        _ => format!("{} {}", setting.source, quoted(&setting.value)),
    };
    let winner = |setting: &Setting| {
        let last = |name| typed.iter().rfind(|other| other.option.name == name);
        // A part, such as `-port`, has no effect if the whole address is typed.
        let placeholder = format!("{{{}}}", setting.typed.name);
        let whole = setting.typed.implies.iter().find(|(_, template)| template.contains(&placeholder));
        let by_last = last(setting.option.name).filter(|last| !last.option.repeats && last.value != setting.value);
        whole.and_then(|(whole, _)| last(whole)).or(by_last)
    };
    let has_effect = |setting: &&Setting| setting.typed.implies != [LEGACY];
    let pairs = typed.iter().filter(has_effect).filter_map(|setting| Some((setting, winner(setting)?)));
    let overridden: Vec<_> =
        pairs.map(|(setting, winner)| format!("{} (by {})", shown(setting), shown(winner))).collect();
    (!overridden.is_empty()).then(|| format!("overridden: {}", overridden.join(", ")))
}

/// The line about variables that begin with [`PREFIX`] but are not of an option, such as a misspelt one.
fn unknown(variables: &[(String, String)]) -> Option<String> {
    let known = || OPTIONS.iter().map(|option| option.variable).filter(|variable| !variable.is_empty());
    let unknown = variables.iter().filter_map(|(name, value)| {
        let rest = name.strip_prefix(PREFIX)?;
        if known().any(|variable| variable == name) || is_of_kubernetes(rest, value) {
            return None;
        }
        let meant = nearest(rest, known().filter_map(|variable| variable.strip_prefix(PREFIX)));
        let meant = meant.map(|meant| format!(" (did you mean {PREFIX}{meant}?)")).unwrap_or_default();
        Some(format!("{name}{meant}"))
    });
    let unknown: Vec<_> = unknown.collect();
    (!unknown.is_empty()).then(|| format!("not an option: {}", unknown.join(", ")))
}

/// Whether this variable is one that Kubernetes sets for a Service. It sets some in every pod for each Service of the namespace; a
/// Service whose name begins with jitsiexporter gives them the prefix of ours.
fn is_of_kubernetes(rest: &str, value: &str) -> bool {
    let rest = format!("_{rest}_");
    rest.contains("_SERVICE_HOST_")
        || rest.contains("_SERVICE_PORT_")
        || rest.split("_PORT_").skip(1).any(|number| number.starts_with(|digit: char| digit.is_ascii_digit()))
        // Kubernetes sets a URL; a person would set a number.
        || (rest.ends_with("_PORT_") && value.contains("://"))
}

/// The candidate that was probably meant: one that differs in few letters, or whose words include those that were typed, or the
/// reverse.
fn nearest<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace(['.', '_'], "-");
    let typed = plain(typed);
    if !(2..=40).contains(&typed.chars().count()) {
        return None;
    }
    let has_words = |all: &str, words: &str| format!("-{all}-").contains(&format!("-{words}-"));
    let distances = candidates.filter_map(|candidate| {
        let name = plain(candidate);
        let distance = osa_distance(&typed, &name);
        let is_near = distance <= 1 + name.len() / 6;
        let is_part = name.starts_with(&typed) || has_words(&name, &typed) || has_words(&typed, &name);
        (is_near || is_part).then_some((!is_near, distance, candidate))
    });
    distances.min_by_key(|(is_far, distance, _)| (*is_far, *distance)).map(|(_, _, candidate)| candidate)
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

fn switch(text: &str) -> Result<bool, &'static str> {
    boolean(text).ok_or("is neither true nor false")
}

/// A boolean, spelled as for Go's `flag`, or as in environment files.
fn boolean(text: &str) -> Option<bool> {
    match &*text.to_ascii_lowercase() {
        "1" | "t" | "true" | "yes" | "on" => Some(true),
        "0" | "f" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}
