//! The URL of a bridge. It is displayed without credentials and query.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::percent_decode_str;
use ureq::http::Uri;
use ureq::http::uri::{Authority, PathAndQuery};

use crate::words::{quoted, without_query};

/// The paths of a bridge's statistics: the REST API, which many installations do not enable, and its own metrics, which a bridge
/// serves since 2022. If the URL has no path, the second is asked after 404 for the first.
pub(super) const PATHS: [&str; 2] = ["/colibri/stats", "/metrics"];

/// How reserved characters are written in a user or a password.
const ESCAPES: &str = "in a user or password, the characters @ : / ? # % are written %40 %3A %2F %3F %23 %25";

/// The longest URL, in bytes.
pub(super) const MAX_URL: usize = 2048;

/// The URL of a bridge: http or https. `user:password@` is removed from it and kept separately, so that printing it never shows
/// credentials. The query is not printed either, because it may contain a token.
#[derive(Clone, PartialEq, Eq)]
pub struct BridgeUrl {
    /// What is asked first.
    uri: Uri,
    /// What is asked after 404 for the first, if the URL has no path.
    second: Option<Uri>,
    authorization: Option<String>,
}

impl BridgeUrl {
    /// Reads a URL as a person types it. Without a path it means both paths of a bridge. User and password may be percent-encoded.
    ///
    /// # Errors
    ///
    /// If it is not an http or https URL. The text says what is wrong and quotes the URL without credentials and query.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_URL {
            return Err(format!("a URL of {} bytes is too long; {MAX_URL} are the most", text.len()));
        }
        Self::read(text).map_err(|error| {
            // A URL with credentials is most often invalid because of unencoded characters in the password.
            let hint = if text.contains('@') { format!(" ({ESCAPES})") } else { String::new() };
            format!("{} {error}{hint}", quoted(text))
        })
    }

    #[cold]
    fn read(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("is not a URL: {error}"))?;
        let mut parts = uri.into_parts();
        if !parts.scheme.as_ref().is_some_and(|scheme| matches!(scheme.as_str(), "http" | "https")) {
            return Err("does not begin with http:// or https://".to_owned());
        }
        let authority = parts.authority.take().ok_or("has no host")?;
        let (user, host) = match authority.as_str().rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority.as_str()),
        };
        let authorization = user.map(|user| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            let mut credentials: Vec<u8> = percent_decode_str(user).collect();
            credentials.push(b':');
            credentials.extend(percent_decode_str(password));
            format!("Basic {}", BASE64.encode(credentials))
        });
        if host.starts_with('[') && host.contains('%') {
            return Err("has an IPv6 zone, which is not supported: use a name or another address".to_owned());
        }
        let host: Authority = host.parse().map_err(|error| format!("has no valid host: {error}"))?;
        let port = host.as_str().strip_prefix(host.host()).and_then(|rest| rest.strip_prefix(':'));
        if host.host().is_empty() || port.is_some_and(|port| !port.parse().is_ok_and(|port: u16| port > 0)) {
            return Err("has no valid host and port".to_owned());
        }
        let (path, query) = parts.path_and_query.as_ref().map_or(("", None), |all| (all.path(), all.query()));
        // An unencoded / # or ? in a password ends the authority before the @, so the rest of the password looks like a path, a
        // fragment or a query. `Uri` has dropped the fragment.
        if path.contains('@') {
            return Err("has an @ in its path".to_owned());
        }
        if text.split_once('#').is_some_and(|(_, fragment)| fragment.contains('@')) {
            return Err("has an @ behind a #".to_owned());
        }
        // A query may contain an @ after a name and an equals sign. Directly after the authority it is more likely a part of a
        // password if the host and the port can be a user and the begin of a password, or if there is a user.
        let authority_ends = text.split_once("://").and_then(|(_, rest)| rest.find(['/', '?']).map(|at| &rest[at..]));
        let before = query.and_then(|query| query.split_once('@')).map(|(before, _)| before);
        let is_password = |before: &str| port.is_some() || user.is_some() || !before.contains('=');
        if authority_ends.is_some_and(|rest| rest.starts_with('?')) && before.is_some_and(is_password) {
            return Err("has an @ in its query but no path".to_owned());
        }
        parts.authority = Some(host);
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let second = if matches!(path, "" | "/") {
            let [first, second] = PATHS.map(|path| format!("{path}{query}").parse::<PathAndQuery>().ok());
            parts.path_and_query = first;
            second
        } else {
            None
        };
        let uri = Uri::from_parts(parts).map_err(|error| format!("is not a URL: {error}"))?;
        let second = second.and_then(|second| {
            let mut parts = uri.clone().into_parts();
            parts.path_and_query = Some(second);
            Uri::from_parts(parts).ok()
        });
        Ok(Self { uri, second, authorization })
    }

    /// What is asked first, and what is asked after 404 for that.
    pub(super) fn uris(&self) -> (&Uri, Option<&Uri>) {
        (&self.uri, self.second.as_ref())
    }

    /// The value of the `Authorization` header, if the URL had a user.
    pub(super) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }
}

/// The URL without credentials and query. If the URL has no path, `{:#}` also names the paths that are asked.
impl fmt::Display for BridgeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = without_query(self.uri.to_string());
        let [first, second] = PATHS;
        match self.second {
            None => f.write_str(&shown),
            Some(_) if f.alternate() => {
                write!(f, "{} ({first}, or {second} if that is 404)", shown.replacen(first, "", 1))
            }
            Some(_) => f.write_str(&shown.replacen(first, "", 1)),
        }
    }
}

impl fmt::Debug for BridgeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BridgeUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_type() {
        for (typed, url) in [
            ("http://localhost:8080/colibri/stats", "http://localhost:8080/colibri/stats"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://localhost:8080/", "http://localhost:8080"),
            ("https://jitsi.example.org", "https://jitsi.example.org"),
            ("HTTP://[::1]:8080", "http://[::1]:8080"),
            ("http://jvb:8080/stats?x=1", "http://jvb:8080/stats?***"),
            ("http://jvb:8080?x=1", "http://jvb:8080?***"),
            ("http://me:secret@jvb/x", "http://jvb/x"),
            ("http://jvb/x?user=a@b", "http://jvb/x?***"),
            ("http://jvb?user=a@b", "http://jvb?***"),
            ("http://jvb/?a@b", "http://jvb?***"),
            ("http://jvb:8080/colibri/stats?user=a@b", "http://jvb:8080/colibri/stats?***"),
            ("http://jvb:8080/?user=a@b", "http://jvb:8080?***"),
        ] {
            assert_eq!(BridgeUrl::parse(typed).unwrap().to_string(), url, "{typed}");
        }
    }

    #[test]
    fn asks_both_paths_if_the_url_has_none() {
        let colibri = "http://jvb/colibri/stats";
        for (typed, first, second) in [
            ("http://jvb", colibri, Some("http://jvb/metrics")),
            ("http://a:b@jvb/", colibri, Some("http://jvb/metrics")),
            ("http://jvb?a=b", "http://jvb/colibri/stats?a=b", Some("http://jvb/metrics?a=b")),
            (colibri, colibri, None),
            ("http://jvb/metrics", "http://jvb/metrics", None),
            ("http://jvb//", "http://jvb//", None),
        ] {
            let url = BridgeUrl::parse(typed).unwrap();
            let (one, two) = url.uris();
            assert_eq!((one.to_string(), two.map(Uri::to_string)), (first.to_owned(), second.map(str::to_owned)));
            assert_eq!(format!("{url:#}").ends_with(" (/colibri/stats, or /metrics if that is 404)"), second.is_some());
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_url_and_quotes_it() {
        for (typed, complaint) in [
            ("localhost:8080", "\"localhost:8080\" does not begin with http:// or https://"),
            ("/colibri/stats", "\"/colibri/stats\" does not begin with http:// or https://"),
            ("ftp://jvb/", "\"ftp://jvb/\" does not begin with http:// or https://"),
            ("", "\"\" is not a URL: empty string"),
            ("http://a b/", "\"http://a b/\" is not a URL: invalid uri character"),
            ("http://jvb:0/", "\"http://jvb:0/\" has no valid host and port"),
            ("http://:8080/", "\"http://:8080/\" has no valid host"),
            ("http://[fe80::1%25eth0]:8080/", "\"http://[fe80::1%25eth0]:8080/\" has an IPv6 zone"),
            ("http://[fe80::1%eth0]/", "\"http://[fe80::1%eth0]/\" has an IPv6 zone"),
            ("http://a b/?token=secret", "\"http://a b/?***\" is not a URL"),
            ("http://me:pa/ss@jvb/", "\"http://***@jvb/\" has no valid host and port"),
            ("http://me:7/ss@jvb/", "\"http://***@jvb/\" has an @ in its path"),
            ("http://me:7?ss@jvb/", "\"http://***@jvb/\" has an @ in its query but no path"),
            ("http://me:7?b=c@jvb/", "\"http://***@jvb/\" has an @ in its query but no path"),
            ("http://me:pass@word?b=c@jvb", "\"http://***@jvb\" has an @ in its query but no path"),
            ("http://me:7#ss@jvb/", "\"http://***@jvb/\" has an @ behind a #"),
        ] {
            let error = BridgeUrl::parse(typed).unwrap_err();
            assert!(error.starts_with(complaint), "{typed}: {error}");
            let remedy = error.ends_with(" are written %40 %3A %2F %3F %23 %25)");
            assert_eq!(remedy, typed.contains('@'), "{typed}: {error}");
        }
    }

    #[test]
    fn turns_user_and_password_into_basic_auth() {
        for (typed, credentials) in [
            ("http://me:secret@jvb/", "me:secret"),
            ("http://me@jvb/", "me:"),
            ("http://me:p%40ss%3aword%C3%A9@jvb/", "me:p@ss:word\u{e9}"),
            ("http://me:a:b@jvb/", "me:a:b"),
            ("http://me:a@b@jvb/", "me:a@b"),
            ("http://me:a%b@jvb/", "me:a%b"),
        ] {
            let url = BridgeUrl::parse(typed).unwrap();
            assert_eq!(url.authorization(), Some(&*format!("Basic {}", BASE64.encode(credentials))), "{typed}");
        }
    }

    #[test]
    fn never_shows_a_credential() {
        for typed in [
            "http://me:secret@jvb/",
            "http://me:sec/secret@jvb:x/",
            "http://me:7/sec@jvb/",
            "http://me:7#sec@jvb/",
            "http://me:7?sec@jvb/",
            "http://me:7?sec=ret@jvb/",
            "http://me:7@sec?r=et@jvb/",
            "http://me:sec?secret@jvb/",
            "http://me:sec:7/secret@jvb/",
            "http://jvb/?user=sec@ret",
            "http://me:sec@secret@jvb/ ",
            "me:secret@jvb",
            "me:secret@http://x@jvb",
            "http://jvb/?token=secret",
            "jvb?token=secret",
        ] {
            let shown = match BridgeUrl::parse(typed) {
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => error,
            };
            assert!(!shown.contains("sec"), "{typed}: {shown}");
            assert!(shown.contains("jvb"), "{typed}: {shown}");
        }
        let url = BridgeUrl::parse("http://jvb/?token=secret").unwrap();
        assert_eq!(url.uris().0.query(), Some("token=secret"));
        let url = BridgeUrl::parse("http://me:secret@jvb/").unwrap();
        assert_eq!(format!("{url:?}"), "BridgeUrl(http://jvb)");
    }
}
