//! The files around the program say what the program does: those in `deploy` that are made from the table of options are what
//! it makes of them (`UPDATE=1` writes them anew), and the others name no option, version or setting that does not exist.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use jitsiexporter::cli::{OptionInfo, options};

/// The repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Holds a generated file to what it should be, or writes it.
fn generated(path: &str, expected: &str) {
    if std::env::var_os("UPDATE").is_some_and(|value| !value.is_empty()) {
        let file = Path::new(ROOT).join(path);
        fs::create_dir_all(file.parent().expect("it is a file in a folder")).unwrap();
        return fs::write(file, expected).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let found = fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_default();
    if found != expected {
        let line = found.lines().zip(expected.lines()).take_while(|(found, expected)| found == expected).count();
        let [found, expected] =
            [&found, expected].map(|text| text.lines().nth(line).unwrap_or("(end of file)").to_owned());
        panic!(
            "{path} is not what the options make of it; UPDATE=1 cargo test --test packaging writes it anew\n\
             line {}\n  found    {found}\n  expected {expected}",
            line + 1
        );
    }
}

// What the sources of the texts are.

/// A release in CHANGELOG.md: its version and its date, year-month-day.
struct Release {
    version: String,
    date: String,
}

/// The releases of CHANGELOG.md, newest first. A section without a date is not released yet and not counted.
fn releases() -> Vec<Release> {
    let text = read("CHANGELOG.md");
    let headings = text.lines().filter_map(|line| line.strip_prefix("## ")?.split_once(" - "));
    headings.map(|(version, date)| Release { version: version.to_owned(), date: date.to_owned() }).collect()
}

/// `Sun, 22 Nov 2026 00:00:00 +0000` for `2026-11-22`.
fn rfc2822(date: &str) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // Zeller counts January and February as months of the year before, and from Saturday on.
    const DAYS: [&str; 7] = ["Sat", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri"];
    let mut parts = date.split('-').map(|part| part.parse::<usize>().expect("a date is numbers"));
    let [year, month, day] = [0; 3].map(|_: usize| parts.next().expect("a date is year-month-day"));
    let (y, m) = if month < 3 { (year - 1, month + 12) } else { (year, month) };
    let weekday = (day + 13 * (m + 1) / 5 + y + y / 4 - y / 100 + y / 400) % 7;
    format!("{}, {day:02} {} {year} 00:00:00 +0000", DAYS[weekday], MONTHS[month - 1])
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
    let mut page = String::from(".\\\" Made from the table of options by tests/packaging.rs (UPDATE=1).\n");
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

#[test]
fn the_manual_page_is_made_from_the_options() {
    generated("deploy/man/jitsiexporter.1", &man_page());
}

// The option file of the service.

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

#[test]
fn the_option_file_lists_every_variable() {
    generated("deploy/systemd/jitsiexporter.default", &option_file());
}

#[test]
fn the_option_file_without_its_marks_is_the_default() {
    // Every line uncommented must be read, and change nothing.
    let text = option_file();
    let variables: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#JITSIEXPORTER_")?.split_once('='))
        .map(|(name, value)| (format!("JITSIEXPORTER_{name}"), value.to_owned()))
        .collect();
    assert_eq!(variables.len(), options().iter().filter(|option| option.variable.is_some()).count());
    let environment =
        |name: &str| variables.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.clone());
    let [given, none] = [
        jitsiexporter::cli::parse(&[], environment).map(|command| format!("{command:?}")),
        jitsiexporter::cli::parse(&[], |_| None).map(|command| format!("{command:?}")),
    ];
    assert_eq!(given, none);
}

// What the shells complete.

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
        "# Made from the table of options by tests/packaging.rs (UPDATE=1).\n\
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
        "#compdef jitsiexporter\n# Made from the table of options by tests/packaging.rs (UPDATE=1).\n_arguments -S \\\n",
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
    let mut text = String::from(
        "# Made from the table of options by tests/packaging.rs (UPDATE=1).\ncomplete -c jitsiexporter -f\n",
    );
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

#[test]
fn completions_are_made_from_the_options() {
    generated("deploy/completions/jitsiexporter.bash", &bash());
    generated("deploy/completions/_jitsiexporter", &zsh());
    generated("deploy/completions/jitsiexporter.fish", &fish());
}

// Debian's changelog.

#[test]
fn the_changelog_of_the_package_is_that_of_the_program() {
    let mut text = String::new();
    for Release { version, date } in releases() {
        let date = rfc2822(&date);
        write!(
            text,
            "jitsiexporter ({version}-1) stable; urgency=medium\n\n  \
             * Release {version}; changelog.gz in this folder says what is new.\n\n \
             -- {MAINTAINER}  {date}\n\n"
        )
        .unwrap();
    }
    generated("deploy/debian/changelog", text.strip_suffix('\n').expect("there is a release"));
}

const MAINTAINER: &str = "jitsiexporter maintainers <maintainers@jitsiexporter.example>";

#[test]
fn dates_have_the_right_weekday() {
    for (date, weekday) in [("2026-11-22", "Sun"), ("2024-02-29", "Thu"), ("2000-01-01", "Sat"), ("2027-03-01", "Mon")]
    {
        assert!(rfc2822(date).starts_with(weekday), "{date}: {}", rfc2822(date));
    }
}

// What is written by hand.

/// Every file below a folder, without the parts that have tests of their own.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&path)),
            kind if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// The words of a text that begin like a variable of ours.
fn variables(text: &str) -> Vec<&str> {
    let ends = |letter: char| !(letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_');
    let begin = |(at, _): (usize, &str)| {
        let rest = &text[at..];
        &rest[..rest.find(ends).unwrap_or(rest.len())]
    };
    text.match_indices("JITSIEXPORTER_").map(begin).filter(|word| word.len() > "JITSIEXPORTER_".len()).collect()
}

#[test]
fn deploy_names_only_variables_that_exist() {
    // The first is for the build, the second for compose: it says which image.
    let mut known = vec!["JITSIEXPORTER_COMMIT".to_owned(), "JITSIEXPORTER_IMAGE".to_owned()];
    known.extend(options().into_iter().filter_map(|option| option.variable));
    for path in files(&Path::new(ROOT).join("deploy")) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for variable in variables(&text) {
            assert!(known.iter().any(|known| known == variable), "{}: {variable} is no option", path.display());
        }
    }
}

#[test]
fn every_file_is_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(releases()[0].version, version, "CHANGELOG.md has no section with a date for the version of Cargo.toml");
    // The image that is meant, wherever one is named (jitsiexporter:9700 is an address).
    for path in files(&Path::new(ROOT).join("deploy")) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for (at, _) in text.match_indices("jitsiexporter:") {
            let tag = &text[at + "jitsiexporter:".len()..];
            let tag = &tag[..tag
                .find(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-')))
                .unwrap_or(tag.len())];
            assert!(!tag.contains('.') || tag == version, "{}: jitsiexporter:{tag} is not {version}", path.display());
        }
    }
    let tag = format!("    tag: {version}\n");
    assert!(read("deploy/kubernetes/jitsi-helm-legacy.yaml").contains(&tag), "the chart's values have another version");
    let ansible = format!("jitsiexporter_version: {version}\n");
    assert!(read("deploy/ansible/jitsiexporter/defaults/main.yml").contains(&ansible), "the role has another version");
}

#[test]
fn both_dockerfiles_end_in_the_same_image() {
    let settings = |path: &str| -> Vec<String> {
        let text = read(path);
        let last = text.rsplit_once("FROM scratch\n").unwrap_or_else(|| panic!("{path} does not end in scratch")).1;
        let wanted = ["ENV", "EXPOSE", "USER", "ENTRYPOINT", "LABEL", "     org."];
        last.lines().filter(|line| wanted.iter().any(|word| line.starts_with(word))).map(str::to_owned).collect()
    };
    let source = settings("deploy/docker/Dockerfile");
    assert_eq!(source, settings("deploy/docker/Dockerfile.release"));
    for line in [
        "ENV JITSIEXPORTER_LISTEN_ADDRESS=:9700",
        "EXPOSE 9700 9888",
        "USER 10001:10001",
        "ENTRYPOINT [\"/jitsiexporter\"]",
    ] {
        assert!(source.iter().any(|found| found == line), "the image lacks {line}");
    }
}

#[test]
fn the_unit_of_the_role_is_the_unit_of_the_package() {
    let unit = read("deploy/systemd/jitsiexporter.service");
    assert!(unit.contains("\nEnvironmentFile=-/etc/default/jitsiexporter\n"));
    let role = read("deploy/ansible/jitsiexporter/templates/jitsiexporter.service.j2");
    let role = role.strip_prefix("# {{ ansible_managed }}\n").expect("a file by Ansible says so");
    let packaged =
        unit.replace("ExecStart=/usr/bin/jitsiexporter", "ExecStart={{ jitsiexporter_directory }}/jitsiexporter");
    assert_eq!(role, packaged.replace("Documentation=man:jitsiexporter(1)\n", ""));
}
