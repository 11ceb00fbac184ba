//! The manual page, the files of the service and the completions of the shells, from the table of options.

use std::fmt::Write as _;

use jitsiexporter::cli::{CliOption, OPTIONS};

use super::debian::releases;
use super::{File, read};

/// `--help`, which is argh's and not in the table.
static HELP: CliOption = CliOption::switch("help", "print the options and exit");

pub fn files() -> Vec<File> {
    vec![
        File::new("deploy/man/jitsiexporter.1", man_page()),
        File::new("deploy/systemd/jitsiexporter.default", option_file()),
        File::new("deploy/completions/jitsiexporter.bash", bash()),
        File::new("deploy/completions/_jitsiexporter", zsh()),
        File::new("deploy/completions/jitsiexporter.fish", fish()),
        File::new("deploy/ansible/jitsiexporter/templates/jitsiexporter.service.j2", unit_of_the_role()),
        File::new("deploy/ansible/jitsiexporter/vars/main/options.yml", options_of_the_role()),
    ]
}

/// The exporter's own options, without the options of other exporters.
pub fn own() -> impl Iterator<Item = &'static CliOption> {
    OPTIONS.iter().filter(|option| option.implies.is_empty()).chain([&HELP])
}

/// A phrase of the table as a sentence.
fn sentence(phrase: &str) -> String {
    let (first, rest) = phrase.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}

// The manual page.

/// Escapes backslashes, dashes (which would be copied as hyphens) and the first character of a request.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// The paragraph of an option.
fn paragraph(dashes: &str, option: &CliOption) -> String {
    let CliOption { name, value, default, variable, help, implies, .. } = option;
    let value = if value.is_empty() { String::new() } else { format!(" \" \" \\fI{value}\\fP") };
    let mut text = format!(".TP\n.BR {}{value}\n{}\n", roff(&format!("{dashes}{name}")), roff(&sentence(help)));
    if !default.is_empty() {
        writeln!(text, "Default:\n.BR {} .", roff(default)).unwrap();
    }
    if !variable.is_empty() {
        writeln!(text, "Variable:\n.BR {variable} .").unwrap();
    }
    if implies.iter().any(|(name, _)| *name == "legacy-names") {
        text.push_str("Implies\n.BR \\-\\-legacy\\-names .\n");
    }
    text
}

fn man_page() -> String {
    let release = &releases()[0];
    let title =
        format!(".TH JITSIEXPORTER 1 {} \"jitsiexporter {}\" \"User Commands\"\n", release.date, release.version);
    let own: String = own().map(|option| paragraph("--", option)).collect();
    let others = OPTIONS.iter().filter(|option| !option.implies.is_empty());
    let others: String = others.map(|option| paragraph("-", option)).collect();
    [
        ".\\\" Made from the table of options by `make generate`.\n",
        &title,
        MAN_HEAD,
        &own,
        MAN_OTHERS,
        &others,
        MAN_REST,
    ]
    .concat()
}

/// `.nh`: names of variables must not be hyphenated.
const MAN_HEAD: &str = r#".nh
.ad l
.SH NAME
jitsiexporter \- Prometheus exporter for the Jitsi Videobridge
.SH SYNOPSIS
.B jitsiexporter
.RI [ option ...]
.SH DESCRIPTION
.B jitsiexporter
answers each GET of
.I /metrics
with the statistics of a Jitsi Videobridge, fetched for this request, as OpenMetrics or in the Prometheus text format 0.0.4.
It does not poll, and remembers nothing between scrapes.
.PP
If the bridge is down,
.B jitsi_up
is 0,
.B jitsi_scrape_error
names the reason in a label, and the log contains the cause and the remedy.
.I /health
answers without asking the bridge.
.PP
If
.B \-\-url
contains no path, the exporter asks for
.IR /colibri/stats ,
and after 404 for the bridge's own
.IR /metrics .
The first needs the REST API of the bridge:
.B videobridge.apis.rest.enabled = true
in jvb.conf, or
.B COLIBRI_REST_ENABLED=true
in docker\-jitsi\-meet.
The second is enabled by default and complete since release 2.3\-179 (November 2024).
.PP
Most options have an environment variable, which the command line overrides. Blanks and line breaks around the value of a variable are
ignored, and an empty variable counts as not set.
To listen on several addresses, separate them by commas in the variable, or repeat the option on the command line.
If another option is repeated, the last one counts, and the log names the one that was overridden.
A switch is on with
.BR true ", " 1 ", " yes " or " on ,
and off with
.BR false ", " 0 ", " no " or " off .
.SH OPTIONS
"#;

const MAN_OTHERS: &str = r".SH OPTIONS OF OTHER EXPORTERS
These work with one dash or two, and with
.B =
or a space before the value.
The first three are common to Prometheus exporters; the others belong to jitsiexporter (Go) and prometheus\-jitsi\-meet\-exporter.
.B \-videobridge\-url
also listens on
.B :9888
if no address is given.
";

const MAN_REST: &str = r".SH EXIT STATUS
.TP
.B 0
Stopped by SIGTERM or SIGINT, or
.B \-\-once
found the bridge up.
.TP
.B 1
The address cannot be bound, the web configuration cannot be used, or
.B \-\-once
found the bridge down.
.TP
.B 2
An option or its value is wrong; standard error names it.
.TP
.B 130
A second signal ended the grace period for requests in flight.
.SH SIGNALS
SIGTERM and SIGINT stop the program.
SIGHUP makes it read the web configuration and the files it names again. It also notices changed files by itself.
.SH FILES
.TP
.I /etc/default/jitsiexporter
The environment variables of the service.
.SH EXAMPLES
Try it with a simulated bridge:
.PP
.EX
jitsiexporter \-\-demo
curl http://127.0.0.1:9700/metrics
.EE
.PP
For a Prometheus on another machine:
.PP
.EX
jitsiexporter \-\-listen\-address :9700
.EE
.PP
For the textfile collector of the node exporter:
.PP
.EX
jitsiexporter \-\-once > jitsi.prom.new; mv jitsi.prom.new jitsi.prom
.EE
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1)
";

// The service.

fn option_file() -> String {
    let mut file = String::from(
        "# The options of the jitsiexporter service, with their defaults. To change one, remove the # before it, then:\n\
         #   systemctl restart jitsiexporter\n\
         # systemd reads this file as root. If the URL holds a password, protect it: chmod 600.\n\
         # The service has its own user and cannot see /home and /root. Files named here must be readable by everyone or, if there\n\
         # is a user jitsiexporter, as with the Debian package, by the group of that name.\n",
    );
    for CliOption { name, value, default, variable, help, .. } in own().filter(|option| !option.variable.is_empty()) {
        let default = if value.is_empty() { "false" } else { default };
        write!(file, "\n# {} (--{name})\n#{variable}={default}\n", sentence(help)).unwrap();
    }
    file
}

/// The unit in the Ansible role: the package's unit with another path and without the manual page.
fn unit_of_the_role() -> String {
    let unit = read("deploy/systemd/jitsiexporter.service")
        .replace("ExecStart=/usr/bin/", "ExecStart={{ jitsiexporter_directory }}/")
        .replace("Documentation=man:jitsiexporter(1)\n", "");
    format!("# {{{{ ansible_managed }}}}\n{unit}")
}

/// The names of the options that the Ansible role takes. It runs a service, and has a variable for the web configuration.
fn options_of_the_role() -> String {
    let names =
        own().filter(|option| !option.variable.is_empty() && !matches!(option.name, "once" | "web-config-file"));
    let names: Vec<_> = names.map(|option| option.name.replace('-', "_")).collect();
    format!("---\n# Made from the table of options by `make generate`.\njitsiexporter_known: [{}]\n", names.join(", "))
}

// The completions.

fn takes_file(option: &CliOption) -> bool {
    option.value == "FILE"
}

fn bash() -> String {
    let names = |wanted: fn(&CliOption) -> bool, separator: &str| {
        let names = own().filter(|option| wanted(option)).map(|option| format!("--{}", option.name));
        names.collect::<Vec<_>>().join(separator)
    };
    let files = names(takes_file, "|");
    let values = names(|option| !option.value.is_empty() && !takes_file(option), "|");
    let all = names(|_| true, " ");
    format!(
        r#"# Made from the table of options by `make generate`.
_jitsiexporter() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    COMPREPLY=()
    case $previous in
        {files}) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        {values}) ;;
        *) mapfile -t COMPREPLY < <(compgen -W "{all}" -- "$current") ;;
    esac
}}
complete -o filenames -F _jitsiexporter jitsiexporter
"#
    )
}

fn zsh() -> String {
    let lines = own().map(|option| {
        let CliOption { name, value, help, repeats, .. } = option;
        let star = if *repeats { "*" } else { "" };
        // Brackets and colons end the parts of such a line.
        let help = help.replace('\'', "'\\''").replace('[', "\\[").replace(']', "\\]");
        match value {
            &"" => format!("    '{star}--{name}[{help}]'"),
            value => {
                format!("    '{star}--{name}[{help}]:{value}:{}'", if takes_file(option) { "_files" } else { " " })
            }
        }
    });
    let lines = lines.collect::<Vec<_>>().join(" \\\n");
    format!("#compdef jitsiexporter\n# Made from the table of options by `make generate`.\n_arguments -S \\\n{lines}\n")
}

fn fish() -> String {
    let mut text = String::from("# Made from the table of options by `make generate`.\ncomplete -c jitsiexporter -f\n");
    for option in own() {
        let value = match option.value {
            "" => "",
            _ if takes_file(option) => " -r -F",
            _ => " -x",
        };
        let help = option.help.replace('\\', "\\\\").replace('\'', "\\'");
        writeln!(text, "complete -c jitsiexporter -l {}{value} -d '{help}'", option.name).unwrap();
    }
    text
}
