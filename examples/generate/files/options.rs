//! The manual page, the files of the service and the completions of the shells, from the table of options.

use std::fmt::Write as _;

use jitsiexporter::cli::{OptionInfo, options};

use super::debian::releases;
use super::{File, read};

pub fn files() -> Vec<File> {
    vec![
        File::new("deploy/man/jitsiexporter.1", man_page()),
        File::new("deploy/systemd/jitsiexporter.default", option_file()),
        File::new("deploy/completions/jitsiexporter.bash", bash()),
        File::new("deploy/completions/_jitsiexporter", zsh()),
        File::new("deploy/completions/jitsiexporter.fish", fish()),
        File::new("deploy/ansible/jitsiexporter/templates/jitsiexporter.service.j2", unit_of_the_role()),
    ]
}

// The manual page.

/// Text as roff reads it: a dash that is a dash also when copied, no backslash, no line that looks like a request.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// A text as it stands in the table of options, as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn man_page() -> String {
    let options = options();
    let release = &releases()[0];
    let mut page = String::from(".\\\" Made from the table of options by `make generate`.\n");
    let w = &mut page;
    let date = &release.date;
    writeln!(w, ".TH JITSIEXPORTER 1 {date} \"jitsiexporter {}\" \"User Commands\"", release.version).unwrap();
    // Names of variables are not to be hyphenated.
    w.push_str(".nh\n.ad l\n");
    w.push_str(
        ".SH NAME\njitsiexporter \\- Prometheus exporter for the Jitsi Videobridge\n.SH SYNOPSIS\n.B jitsiexporter\n",
    );
    for OptionInfo { name, value, .. } in &options {
        match value {
            Some(value) => writeln!(w, ".RB [ {} \" \\fI{value}\\fP\" ]", roff(name)).unwrap(),
            None => writeln!(w, ".RB [ {} ]", roff(name)).unwrap(),
        }
    }
    w.push_str(MAN_DESCRIPTION);
    w.push_str(".SH OPTIONS\n");
    for OptionInfo { name, value, description, default, variable } in &options {
        let value = value.as_ref().map(|value| format!(" \" \" \\fI{value}\\fP")).unwrap_or_default();
        writeln!(w, ".TP\n.BR {}{value}\n{}", roff(name), roff(&sentence(description))).unwrap();
        if let Some(default) = default {
            writeln!(w, "Default:\n.BR {} .", roff(default)).unwrap();
        }
        if let Some(variable) = variable {
            writeln!(w, "Variable:\n.BR {variable} .").unwrap();
        }
    }
    w.push_str(MAN_REST);
    page
}

const MAN_DESCRIPTION: &str = r#".SH DESCRIPTION
.B jitsiexporter
answers each GET of
.I /metrics
with one GET of the
.I /colibri/stats
of a Jitsi Videobridge, rendered as OpenMetrics or as the Prometheus text format 0.0.4, whichever the client asks for.
Nothing is polled and nothing is remembered between two scrapes.
.PP
A bridge that is down or says nothing gives
.B jitsi_up 0
and
.BR jitsi_scrape_error ,
whose label names the reason; the log names the cause and the remedy.
.I /health
answers without asking the bridge.
.PP
The bridge answers only if its REST API is on:
.B videobridge.apis.rest.enabled = true
in jvb.conf, or
.B COLIBRI_REST_ENABLED=true
in docker\-jitsi\-meet.
.PP
Every option has an environment variable, which the command line overrides.
An empty variable is as good as none; a switch is on with
.BR true ", " 1 ", " yes " or " on .
"#;

const MAN_REST: &str = r#".SH OPTIONS OF OLDER EXPORTERS
The options of jitsiexporter (Go) and of prometheus\-jitsi\-meet\-exporter work as well, with one dash or two and with
.B =
or a space before the value.
.TP
.BI \-videobridge\-url " url"
The same as
.BR \-\-url .
Listens on
.B :9888
if no address is given.
.TP
.BR \-host " \fIhost\fP, " \-port " \fIport\fP"
The two parts of
.BR \-\-listen\-address ;
localhost and 9700 if only one is given.
.TP
.BR \-interval " \fItime\fP, " \-debug
Without effect.
.PP
Each of them implies
.BR \-\-legacy\-names .
.TP
.BI \-web.listen\-address " address"
The same as
.BR \-\-listen\-address ,
and implies nothing.
.SH EXIT STATUS
.TP
.B 0
It was stopped by SIGTERM or SIGINT, or
.B \-\-once
found the bridge up.
.TP
.B 1
The address cannot be listened on, or
.B \-\-once
found the bridge not up.
.TP
.B 2
An option or its value is wrong; standard error names it.
.SH FILES
.TP
.I /etc/default/jitsiexporter
The variables of the service, where it was installed as one.
.SH EXAMPLES
A first look, without a bridge:
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
jitsiexporter \-\-once > jitsi.prom.new && mv jitsi.prom.new jitsi.prom
.EE
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1)
"#;

fn option_file() -> String {
    let mut file = String::from(
        "# The options of the jitsiexporter service, each with its default. To change one, remove the # before it, then:\n\
         #   systemctl restart jitsiexporter\n\
         # systemd reads this file as root. If the URL holds a password, keep it from others: chmod 600.\n\
         # The service has no user and no home of its own: a CA file must be readable by everyone, and not under /home or /root.\n",
    );
    for OptionInfo { name, value, description, default, variable } in options() {
        let Some(variable) = variable else { continue };
        let default = default.unwrap_or_else(|| if value.is_some() { String::new() } else { "false".to_owned() });
        writeln!(file, "\n# {} ({name})\n#{variable}={default}", sentence(&description)).unwrap();
    }
    file
}

/// Which options want the name of a file.
fn is_file(option: &OptionInfo) -> bool {
    matches!(option.value.as_deref(), Some("pem" | "file"))
}

fn bash() -> String {
    let options = options();
    let names: Vec<_> = options.iter().map(|option| &*option.name).collect();
    let with_value = |file: bool| {
        let names = options.iter().filter(|option| option.value.is_some() && is_file(option) == file);
        names.map(|option| &*option.name).collect::<Vec<_>>().join("|")
    };
    format!(
        "# Made from the table of options by `make generate`.\n\
         _jitsiexporter() {{\n    \
             local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}\n    \
             COMPREPLY=()\n    \
             case $previous in\n        \
                 {}) mapfile -t COMPREPLY < <(compgen -f -- \"$current\") ;;\n        \
                 {}) ;;\n        \
                 *) mapfile -t COMPREPLY < <(compgen -W \"{}\" -- \"$current\") ;;\n    \
             esac\n\
         }}\n\
         complete -o filenames -F _jitsiexporter jitsiexporter\n",
        with_value(true),
        with_value(false),
        names.join(" ")
    )
}

fn zsh() -> String {
    let mut text = String::from(
        "#compdef jitsiexporter\n# Made from the table of options by `make generate`.\n_arguments -S \\\n",
    );
    for option in options() {
        // Brackets and colons end the parts of such a line.
        let description = option.description.replace('\'', "'\\''").replace('[', "\\[").replace(']', "\\]");
        let action = if is_file(&option) { "_files" } else { " " };
        let value = option.value.map(|value| format!(":{value}:{action}")).unwrap_or_default();
        writeln!(text, "    '{}[{description}]{value}' \\", option.name).unwrap();
    }
    text.trim_end_matches(" \\\n").to_owned() + "\n"
}

fn fish() -> String {
    let mut text = String::from("# Made from the table of options by `make generate`.\ncomplete -c jitsiexporter -f\n");
    for option in options() {
        let name = option.name.trim_start_matches('-');
        let value = match &option.value {
            Some(_) if is_file(&option) => " -r -F",
            Some(_) => " -x",
            None => "",
        };
        let description = option.description.replace('\\', "\\\\").replace('\'', "\\'");
        writeln!(text, "complete -c jitsiexporter -l {name}{value} -d '{description}'").unwrap();
    }
    text
}

/// The unit in the Ansible role: that of the package, with another path and without a manual page.
fn unit_of_the_role() -> String {
    let unit = read("deploy/systemd/jitsiexporter.service")
        .replace("ExecStart=/usr/bin/", "ExecStart={{ jitsiexporter_directory }}/")
        .replace("Documentation=man:jitsiexporter(1)\n", "");
    format!("# {{{{ ansible_managed }}}}\n{unit}")
}
