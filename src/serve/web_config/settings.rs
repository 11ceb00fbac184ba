//! Reads the text of a web configuration file into [`Settings`]. The format is that of Prometheus' exporter-toolkit.
//!
//! The parser's events are read directly, without a document tree. So every message can name a line, a scalar is the text that was
//! typed (the user `123` is not a number), and an alias cannot expand to more than the file contains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::Chars;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

/// The settings of a web configuration file. They include hashes of passwords, so this type is not `Debug`.
#[derive(Default)]
pub struct Settings {
    /// Without it the listener speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Bcrypt hashes by user. If empty, no password is required.
    pub users: BTreeMap<String, String>,
    /// Headers that are added to each response.
    pub headers: Vec<(&'static str, String)>,
    /// Values that are replaced by supported ones, for the log.
    pub notes: Vec<String>,
}

/// The headers that exporter-toolkit accepts, each with its allowed values. An empty list allows any value.
const HEADERS: &[(&str, &[&str])] = &[
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// The section `tls_server_config`.
#[derive(Debug)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub client_auth: ClientAuth,
    pub client_ca_file: Option<PathBuf>,
    pub client_allowed_sans: Option<Vec<String>>,
    pub min_version: Version,
    pub max_version: Version,
    /// Names of cipher suites, as in Go. If absent, all are used.
    pub cipher_suites: Option<Vec<String>>,
    /// Names of curves for the key exchange, as in Go. If absent, all are used.
    pub curve_preferences: Option<Vec<String>>,
}

impl Tls {
    /// Whether a client without a certificate is rejected. A list of allowed names also requires one.
    pub fn requires_certificate(&self) -> bool {
        matches!(self.client_auth, ClientAuth::RequireAnyClientCert | ClientAuth::RequireAndVerifyClientCert)
            || self.client_allowed_sans.is_some()
    }
}

/// Whether clients have to present a certificate. The names are those of Go's crypto/tls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

impl ClientAuth {
    /// Whether a certificate that is presented has to be signed by `client_ca_file`.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyClientCertIfGiven | Self::RequireAndVerifyClientCert)
    }

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "" | "NoClientCert" => Self::NoClientCert,
            "RequestClientCert" => Self::RequestClientCert,
            // `RequireClientCert` is an old name that exporter-toolkit still accepts.
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAnyClientCert,
            "VerifyClientCertIfGiven" => Self::VerifyClientCertIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerifyClientCert,
            _ => return None,
        })
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Tls12,
    Tls13,
}

/// Reads the text of a file. Relative paths in it are relative to `directory`.
///
/// # Errors
///
/// A one-line message that names the line and the key, and never quotes a value that may be a secret.
pub fn parse(text: &str, directory: &Path) -> Result<Settings, String> {
    // Windows editors may write a byte order mark.
    let text = &without_tabs(text.trim_start_matches('\u{feff}'));
    let mut reader = Reader { parser: Parser::new_from_str(text), text, notes: Vec::new() };
    let mut settings = Settings::default();
    match reader.next()? {
        // A file without content, or with comments only.
        (Event::StreamEnd, _) => return Ok(settings),
        (Event::DocumentStart, _) => {}
        (_, line) => return Err(at(line, "is not valid YAML")),
    }
    reader.mapping("the file", |reader, key, line| {
        match key {
            "tls_server_config" => settings.tls = reader.tls(directory)?,
            "basic_auth_users" => settings.users = reader.users()?,
            "http_server_config" => settings.headers = reader.http()?,
            "rate_limit" => {
                return Err(at(line, "rate_limit is not supported, and without it there is less protection"));
            }
            _ => return Err(unknown(line, "", key)),
        }
        Ok(())
    })?;
    match (reader.next()?, reader.next()?) {
        ((Event::DocumentEnd, _), (Event::StreamEnd, _)) => Ok(Settings { notes: reader.notes, ..settings }),
        (_, (_, line)) => Err(at(line, "a second document begins here; there has to be one")),
    }
}

/// Replaces tabs between a colon and a value by spaces. Unlike Go's YAML package, yaml-rust2 rejects them before some values.
/// Quoted text is not changed.
fn without_tabs(text: &str) -> String {
    let mut replaced = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut quotes = [('"', false), ('\'', false)];
        let mut before = ' ';
        for c in line.chars() {
            quotes.iter_mut().filter(|(quote, _)| *quote == c).for_each(|(_, open)| *open = !*open);
            let is_gap = c == '\t' && before == ':' && quotes.iter().all(|(_, open)| !open);
            replaced.push(if is_gap { ' ' } else { c });
            before = c;
        }
    }
    replaced
}

fn at(line: usize, what: impl std::fmt::Display) -> String {
    format!("line {line}: {what}")
}

/// A name, if a message may quote it. In a file with a mistake, a hash or a password may stand in the place of a name.
fn printable(name: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
    // A bcrypt hash has 60 characters, three of them dollar signs.
    (!name.is_empty() && name.len() <= 32 && name.chars().all(plain)).then_some(name)
}

fn unknown(line: usize, section: &str, key: &str) -> String {
    match printable(key) {
        Some(key) => at(line, format_args!("\"{section}{key}\" is not a key of a web configuration file")),
        None => at(line, "this is not a key of a web configuration file"),
    }
}

struct Reader<'a> {
    parser: Parser<Chars<'a>>,
    text: &'a str,
    notes: Vec<String>,
}

impl Reader<'_> {
    /// The next event that carries meaning, and its line.
    fn next(&mut self) -> Result<(Event, usize), String> {
        loop {
            let (event, marker) = self.parser.next_token().map_err(|error| {
                // The parser's message may quote the file, so it is replaced. The parser may report a tab at the end of the line
                // before.
                let line = error.marker().line();
                let mut near = self.text.lines().enumerate().skip(line.saturating_sub(1)).take(2);
                match near.find(|(_, text)| text.contains('\t')) {
                    Some((index, _)) => at(index + 1, "is not valid YAML: it has a tab where spaces belong"),
                    None => at(line, "is not valid YAML"),
                }
            })?;
            let line = marker.line();
            match event {
                Event::Nothing | Event::StreamStart => {}
                Event::Alias(_) => return Err(at(line, "YAML aliases are not supported")),
                Event::Scalar(_, _, _, Some(_))
                | Event::SequenceStart(_, Some(_))
                | Event::MappingStart(_, Some(_)) => {
                    return Err(at(line, "YAML tags are not supported"));
                }
                event => return Ok((event, line)),
            }
        }
    }

    /// Reads a mapping; null is an empty one. `entry` has to read the value of each key.
    fn mapping(
        &mut self,
        name: &str,
        mut entry: impl FnMut(&mut Self, &str, usize) -> Result<(), String>,
    ) -> Result<(), String> {
        match self.next()? {
            (Event::MappingStart(..), _) => {}
            (Event::Scalar(text, style, ..), _) if is_null(&text, style) => return Ok(()),
            (_, line) => return Err(at(line, format_args!("{name} has to be a mapping (key: value)"))),
        }
        let mut seen = Vec::new();
        loop {
            match self.next()? {
                (Event::MappingEnd, _) => return Ok(()),
                (Event::Scalar(key, ..), line) => {
                    if seen.contains(&key) {
                        let key = printable(&key).unwrap_or("this key");
                        return Err(at(line, format_args!("{key} is given twice in {name}")));
                    }
                    entry(self, &key, line)?;
                    seen.push(key);
                }
                (_, line) => return Err(at(line, format_args!("a key in {name} is not a string"))),
            }
        }
    }

    /// A scalar as it was typed; `None` if it is null or empty, which exporter-toolkit also treats as absent.
    fn string(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.next()? {
            (Event::Scalar(text, style, ..), _) => Ok((!text.is_empty() && !is_null(&text, style)).then_some(text)),
            (_, line) => Err(at(line, format_args!("{key} has to be a string"))),
        }
    }

    fn strings(&mut self, key: &str) -> Result<Option<Vec<String>>, String> {
        match self.next()? {
            (Event::SequenceStart(..), _) => {}
            (Event::Scalar(text, style, ..), _) if is_null(&text, style) => return Ok(None),
            (_, line) => return Err(at(line, format_args!("{key} has to be a list of strings"))),
        }
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Some(list)),
                (Event::Scalar(text, ..), _) => list.push(text),
                (_, line) => return Err(at(line, format_args!("{key} has to be a list of strings"))),
            }
        }
    }

    /// A boolean as Go's YAML package reads it; `None` if it is null.
    fn boolean(&mut self, key: &str) -> Result<Option<bool>, String> {
        let (event, line) = self.next()?;
        let Event::Scalar(text, style, ..) = event else {
            return Err(at(line, format_args!("{key} has to be true or false")));
        };
        if is_null(&text, style) {
            return Ok(None);
        }
        let is_plain = style == TScalarStyle::Plain;
        match &*text {
            "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" if is_plain => {
                Ok(Some(true))
            }
            "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" if is_plain => {
                Ok(Some(false))
            }
            _ => Err(at(line, format_args!("{key} has to be true or false"))),
        }
    }

    fn version(&mut self, key: &str, line: usize, default: Version) -> Result<Version, String> {
        match self.string(key)?.as_deref() {
            None => Ok(default),
            Some("TLS12") => Ok(Version::Tls12),
            Some("TLS13") => Ok(Version::Tls13),
            Some(older @ ("TLS10" | "TLS11")) if key.ends_with("min_version") => {
                self.notes.push(format!("{key}: {older} is not supported and read as TLS12"));
                Ok(Version::Tls12)
            }
            Some(_) => Err(at(line, format_args!("{key} has to be TLS12 or TLS13"))),
        }
    }

    /// A list of names; `None` if it is empty. Only names that messages may quote are accepted.
    fn names(&mut self, key: &str, line: usize) -> Result<Option<Vec<String>>, String> {
        let names = self.strings(key)?.filter(|names| !names.is_empty());
        let is_name = |name: &String| name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if names.iter().flatten().all(is_name) {
            Ok(names)
        } else {
            Err(at(line, format_args!("{key} has a name that is not one")))
        }
    }

    /// The headers of `http_server_config`.
    fn http(&mut self) -> Result<Vec<(&'static str, String)>, String> {
        let mut headers = Vec::new();
        self.mapping("http_server_config", |reader, key, line| {
            match key {
                // Checked, but without effect: the exporter serves HTTP/1.1 only.
                "http2" => drop(reader.boolean("http_server_config.http2")?),
                "headers" => reader.mapping("http_server_config.headers", |reader, name, line| {
                    let Some((name, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
                        let names: Vec<_> = HEADERS.iter().map(|(name, _)| *name).collect();
                        return Err(at(
                            line,
                            format_args!("http_server_config.headers takes {} only", names.join(", ")),
                        ));
                    };
                    let value = reader.string(name)?.unwrap_or_default();
                    if !values.is_empty() && !values.contains(&&*value) {
                        return Err(at(line, format_args!("{name} has to be {}", values.join(" or "))));
                    }
                    if value.contains(char::is_control) {
                        return Err(at(line, format_args!("{name} has a line break or another control character")));
                    }
                    if !value.is_empty() {
                        headers.push((*name, value));
                    }
                    Ok(())
                })?,
                _ => return Err(unknown(line, "http_server_config.", key)),
            }
            Ok(())
        })?;
        Ok(headers)
    }

    fn tls(&mut self, directory: &Path) -> Result<Option<Tls>, String> {
        const SECTION: &str = "tls_server_config.";
        let (mut cert_file, mut key_file, mut client_ca_file, mut client_allowed_sans) = (None, None, None, None);
        let (mut cipher_suites, mut curve_preferences) = (None, None);
        let mut client_auth = ClientAuth::default();
        let (mut min_version, mut max_version) = (Version::Tls12, Version::Tls13);
        let mut first = None;
        self.mapping("tls_server_config", |reader, key, line| {
            let name = format!("{SECTION}{key}");
            first.get_or_insert(line);
            match key {
                "cert_file" => cert_file = reader.string(&name)?,
                "key_file" => key_file = reader.string(&name)?,
                "client_ca_file" => client_ca_file = reader.string(&name)?,
                "client_allowed_sans" => client_allowed_sans = reader.strings(&name)?,
                "min_version" => min_version = reader.version(&name, line, Version::Tls12)?,
                "max_version" => max_version = reader.version(&name, line, Version::Tls13)?,
                "client_auth_type" => {
                    let policy = reader.string(&name)?.unwrap_or_default();
                    client_auth = ClientAuth::parse(&policy).ok_or_else(|| {
                        at(
                            line,
                            format_args!(
                                "{name} has to be NoClientCert, RequestClientCert, RequireAnyClientCert, \
                                 VerifyClientCertIfGiven or RequireAndVerifyClientCert"
                            ),
                        )
                    })?;
                }
                "cert" | "key" | "client_ca" => {
                    return Err(at(line, format_args!("{name} is not supported: use {key}_file")));
                }
                "cipher_suites" => cipher_suites = reader.names(&name, line)?,
                "curve_preferences" => curve_preferences = reader.names(&name, line)?,
                // Has no effect in exporter-toolkit either.
                "prefer_server_cipher_suites" => drop(reader.boolean(&name)?),
                _ => return Err(unknown(line, SECTION, key)),
            }
            Ok(())
        })?;
        let Some(line) = first else { return Ok(None) };
        let wrong = |what: &str| Err(at(line, format_args!("tls_server_config: {what}")));
        let (Some(cert_file), Some(key_file)) = (&cert_file, &key_file) else {
            return wrong(if cert_file.is_none() { "cert_file is missing" } else { "key_file is missing" });
        };
        if client_auth == ClientAuth::NoClientCert && client_ca_file.is_some() {
            return wrong("client_ca_file needs a client_auth_type other than NoClientCert");
        }
        if client_auth == ClientAuth::NoClientCert && client_allowed_sans.is_some() {
            return wrong("client_allowed_sans needs a client_auth_type other than NoClientCert");
        }
        if client_auth.verifies() && client_ca_file.is_none() {
            return wrong("a client_auth_type that verifies needs client_ca_file");
        }
        if min_version > max_version {
            return wrong("min_version is higher than max_version");
        }
        let path = |name: &str| directory.join(name);
        Ok(Some(Tls {
            cert_file: path(cert_file),
            key_file: path(key_file),
            client_auth,
            client_ca_file: client_ca_file.as_deref().map(path),
            client_allowed_sans,
            min_version,
            max_version,
            cipher_suites,
            curve_preferences,
        }))
    }

    fn users(&mut self) -> Result<BTreeMap<String, String>, String> {
        let mut users = BTreeMap::new();
        self.mapping("basic_auth_users", |reader, user, line| {
            let name = printable(user).map_or_else(|| "the user".to_owned(), |user| format!("user {user}"));
            let hash = reader.string("a password hash in basic_auth_users")?.unwrap_or_default();
            if user.is_empty() || user.contains(':') {
                return Err(at(line, "basic_auth_users: a user name is empty or has a colon in it"));
            }
            let hash = super::auth::canonical_hash(&hash)
                .map_err(|what| at(line, format_args!("basic_auth_users: the password of {name} {what}")))?;
            users.insert(user.to_owned(), hash);
            Ok(())
        })?;
        Ok(users)
    }
}

/// Whether Go's YAML package reads this as null.
fn is_null(text: &str, style: TScalarStyle) -> bool {
    style == TScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

    fn read(text: &str) -> Result<Settings, String> {
        parse(text, Path::new("/etc/jitsiexporter"))
    }

    fn tls(keys: &str) -> Result<Tls, String> {
        let text = format!("tls_server_config:\n  cert_file: a.pem\n  key_file: b.pem\n{keys}");
        read(&text).map(|settings| settings.tls.expect("a section"))
    }

    #[test]
    fn empty_files_and_sections() {
        for text in [
            "",
            "\n",
            "# nothing\n",
            "---\n",
            "{}",
            "null",
            "tls_server_config:\nbasic_auth_users:\n",
            "tls_server_config: {}",
        ] {
            let settings = read(text).unwrap();
            assert!(settings.tls.is_none() && settings.users.is_empty(), "{text}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let tls = tls("  client_auth_type: RequestClientCert\n  client_ca_file: /ca/c.pem\n").unwrap();
        assert_eq!(tls.cert_file, Path::new("/etc/jitsiexporter/a.pem"));
        assert_eq!(tls.key_file, Path::new("/etc/jitsiexporter/b.pem"));
        assert_eq!(tls.client_ca_file.as_deref(), Some(Path::new("/ca/c.pem")));
    }

    #[test]
    fn defaults() {
        for keys in [
            "",
            "  client_auth_type:\n  client_ca_file: ''\n  min_version: null\n  max_version: ~\n  client_allowed_sans:\n",
        ] {
            let tls = tls(keys).unwrap();
            assert_eq!((tls.min_version, tls.max_version), (Version::Tls12, Version::Tls13));
            assert_eq!((tls.client_auth, tls.requires_certificate()), (ClientAuth::NoClientCert, false));
            assert!(tls.client_ca_file.is_none() && tls.client_allowed_sans.is_none());
        }
    }

    #[test]
    fn reads_headers() {
        let headers = |text: &str| read(&format!("http_server_config:\n{text}")).unwrap().headers;
        for text in
            ["", "  http2: off\n", "  headers:\n", "  headers: {X-XSS-Protection: '', Content-Security-Policy: }\n"]
        {
            assert!(headers(text).is_empty(), "{text}");
        }
        let text = "  http2: yes\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1; mode=block\n    \
                    Content-Security-Policy: \"default-src 'self'\"\n";
        let expected = [
            ("X-Frame-Options", "deny"),
            ("X-XSS-Protection", "1; mode=block"),
            ("Content-Security-Policy", "default-src 'self'"),
        ];
        assert_eq!(headers(text), expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn takes_tabs_as_go_does() {
        let text = "tls_server_config:\t# c\n  cert_file:\ta.pem\t\n  \"key_file\":\t\tb.pem\n  client_allowed_sans:\t[a,\tb]\n  \
                    client_auth_type:\tRequestClientCert\nhttp_server_config: {headers:\t{X-XSS-Protection: \"a:\tb\"}}\n";
        // A tab in quotes stays, and is not valid in a header.
        let Err(error) = read(text) else { panic!("a tab in quotes is replaced") };
        assert!(error.contains("X-XSS-Protection has a line break"), "{error}");
        let tls = read(&text.replace("a:\tb", "a")).unwrap().tls.unwrap();
        assert_eq!(
            (tls.cert_file, tls.key_file),
            ("/etc/jitsiexporter/a.pem".into(), "/etc/jitsiexporter/b.pem".into())
        );
        assert_eq!(tls.client_allowed_sans, Some(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn older_versions_are_noted() {
        for version in ["TLS10", "TLS11"] {
            let text = format!("tls_server_config: {{cert_file: a, key_file: b, min_version: {version}}}");
            let settings = read(&text).unwrap();
            assert_eq!(settings.tls.unwrap().min_version, Version::Tls12);
            let note = format!("tls_server_config.min_version: {version} is not supported and read as TLS12");
            assert_eq!(settings.notes, [note]);
        }
    }

    #[test]
    fn reads_client_auth_types() {
        for (name, expected, requires, verifies) in [
            ("NoClientCert", ClientAuth::NoClientCert, false, false),
            ("RequestClientCert", ClientAuth::RequestClientCert, false, false),
            ("RequireAnyClientCert", ClientAuth::RequireAnyClientCert, true, false),
            ("RequireClientCert", ClientAuth::RequireAnyClientCert, true, false),
            ("VerifyClientCertIfGiven", ClientAuth::VerifyClientCertIfGiven, false, true),
            ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerifyClientCert, true, true),
        ] {
            let ca = if expected == ClientAuth::NoClientCert { "" } else { "  client_ca_file: ca.pem\n" };
            let tls = tls(&format!("  client_auth_type: {name}\n{ca}")).unwrap();
            assert_eq!(
                (tls.client_auth, tls.requires_certificate(), tls.client_auth.verifies()),
                (expected, requires, verifies)
            );
        }
        let sans =
            tls("  client_auth_type: RequestClientCert\n  client_allowed_sans: [a.example, 10.0.0.1, 1]\n").unwrap();
        assert_eq!(sans.client_allowed_sans.as_deref(), Some(&["a.example", "10.0.0.1", "1"].map(str::to_owned)[..]));
        assert!(sans.requires_certificate());
    }

    #[test]
    fn user_names_are_not_converted() {
        let text = format!("basic_auth_users:\n  alice: {HASH}\n  0123: '{HASH}'\n  \"b c\": {HASH}\n  true: {HASH}\n");
        let users = read(&text).unwrap().users;
        assert_eq!(users.keys().collect::<Vec<_>>(), ["0123", "alice", "b c", "true"]);
        assert!(users.values().all(|hash| hash[4..] == HASH[4..]));
        // A byte order mark is not part of the first key.
        assert_eq!(read(&format!("\u{feff}{text}")).unwrap().users.len(), 4);
    }

    #[test]
    fn errors_name_line_and_key() {
        let long = "a".repeat(60);
        for (text, message) in [
            ("http_server_config:\n  http2: maybe", "line 2: http_server_config.http2 has to be true or false"),
            ("http_server_config:\n  http2: 'true'", "line 2: http_server_config.http2 has to be true or false"),
            ("http_server_config:\n  http3: false", "line 2: \"http_server_config.http3\" is not a key"),
            ("http_server_config:\n  headers:\n    Server: x", "line 3: http_server_config.headers takes Content-Sec"),
            ("http_server_config:\n  headers: {x-frame-options: deny}", "http_server_config.headers takes"),
            ("http_server_config:\n  headers: {X-Frame-Options: DENY}", "X-Frame-Options has to be deny or sameorigin"),
            ("http_server_config:\n  headers: {X-Frame-Options: ''}", "X-Frame-Options has to be deny or sameorigin"),
            ("http_server_config:\n  headers: {X-Content-Type-Options: x}", "X-Content-Type-Options has to be nosniff"),
            ("http_server_config:\n  headers: {X-XSS-Protection: \"1\\nA: b\"}", "X-XSS-Protection has a line break"),
            ("http_server_config:\n  headers: {X-XSS-Protection: [a]}", "X-XSS-Protection has to be a string"),
            ("\nrate_limit:\n  burst: 1", "line 2: rate_limit is not supported"),
            ("tls_config: {}", "line 1: \"tls_config\" is not a key of a web configuration file"),
            (&format!("{long}: 1"), "line 1: this is not a key of a web configuration file"),
            ("tls_server_config: yes", "line 1: tls_server_config has to be a mapping"),
            ("[]", "line 1: the file has to be a mapping"),
            ("a", "line 1: the file has to be a mapping"),
            ("{", "is not valid YAML"),
            ("tls_server_config:\n\tcert_file: a", "is not valid YAML: it has a tab where spaces belong"),
            ("---\n---\n", "a second document begins here"),
            ("basic_auth_users:\nbasic_auth_users:\n", "line 2: basic_auth_users is given twice in the file"),
            ("? [a]\n: b", "line 1: a key in the file is not a string"),
            ("basic_auth_users: &a\n  a: *a", "line 2: YAML aliases are not supported"),
            ("tls_server_config: !!map {}", "line 1: YAML tags are not supported"),
            ("tls_server_config:\n  key_file: a", "line 2: tls_server_config: cert_file is missing"),
            ("tls_server_config:\n  cert_file: a", "line 2: tls_server_config: key_file is missing"),
            ("tls_server_config:\n  min_version: TLS13", "line 2: tls_server_config: cert_file is missing"),
            ("tls_server_config:\n  cert_file: [a]", "line 2: tls_server_config.cert_file has to be a string"),
            ("tls_server_config:\n  cert: a", "line 2: tls_server_config.cert is not supported: use cert_file"),
            ("tls_server_config:\n  key: a", "tls_server_config.key is not supported: use key_file"),
            ("tls_server_config:\n  client_ca: a", "tls_server_config.client_ca is not supported: use client_ca_file"),
            ("tls_server_config:\n  cipher_suites: a", "tls_server_config.cipher_suites has to be a list of strings"),
            (
                "tls_server_config:\n  cipher_suites: [$2y$]",
                "tls_server_config.cipher_suites has a name that is not one",
            ),
            (
                "tls_server_config:\n  prefer_server_cipher_suites: 1",
                "tls_server_config.prefer_server_cipher_suites has to be true or false",
            ),
            ("tls_server_config:\n  certfile: a", "\"tls_server_config.certfile\" is not a key"),
            ("tls_server_config:\n  min_version: SSL30", "tls_server_config.min_version has to be TLS12 or TLS13"),
            ("tls_server_config:\n  max_version: TLS11", "tls_server_config.max_version has to be TLS12 or TLS13"),
            ("tls_server_config:\n  max_version: TLS1.3", "tls_server_config.max_version has to be TLS12 or TLS13"),
            (
                "tls_server_config:\n  client_auth_type: Yes",
                "tls_server_config.client_auth_type has to be NoClientCert,",
            ),
            ("tls_server_config:\n  client_allowed_sans: a", "client_allowed_sans has to be a list of strings"),
            ("tls_server_config:\n  client_allowed_sans: [{}]", "client_allowed_sans has to be a list of strings"),
            ("basic_auth_users:\n- alice", "line 2: basic_auth_users has to be a mapping"),
            (
                "basic_auth_users:\n  alice: secret",
                "line 2: basic_auth_users: the password of user alice is not a bcrypt hash",
            ),
            ("basic_auth_users:\n  alice:", "the password of user alice is not a bcrypt hash"),
            ("basic_auth_users:\n  alice: []", "a password hash in basic_auth_users has to be a string"),
            (&format!("basic_auth_users:\n  {HASH}: alice"), "the password of the user is not a bcrypt hash"),
            (&format!("basic_auth_users:\n  a:b: {HASH}"), "a user name is empty or has a colon in it"),
            (&format!("basic_auth_users:\n  a: {HASH}\n  a: {HASH}"), "line 3: a is given twice in basic_auth_users"),
            (&format!("{HASH}: alice"), "line 1: this is not a key"),
        ] {
            let Err(error) = read(text) else { panic!("{text}") };
            assert!(error.contains(message), "{text}: {error}");
            assert!(error.starts_with("line ") && !error.contains('\n'), "{text}: {error}");
            assert!(!error.contains("secret") && !error.contains(HASH), "{text}: {error}");
        }
    }

    #[test]
    fn rejects_contradictory_keys() {
        for (keys, message) in [
            ("  client_ca_file: a\n", "client_ca_file needs a client_auth_type other than NoClientCert"),
            ("  client_auth_type: NoClientCert\n  client_ca_file: a\n", "client_ca_file needs a client_auth_type"),
            ("  client_allowed_sans: [a]\n", "client_allowed_sans needs a client_auth_type other than NoClientCert"),
            (
                "  client_auth_type: RequireAndVerifyClientCert\n",
                "a client_auth_type that verifies needs client_ca_file",
            ),
            ("  client_auth_type: VerifyClientCertIfGiven\n", "a client_auth_type that verifies needs client_ca_file"),
            ("  min_version: TLS13\n  max_version: TLS12\n", "min_version is higher than max_version"),
        ] {
            let error = tls(keys).unwrap_err();
            assert!(error.contains(message), "{keys}: {error}");
        }
    }
}
