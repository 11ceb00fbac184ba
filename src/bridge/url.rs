//! The URL of a bridge, and what of it may be shown.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::percent_decode_str;
use ureq::http::Uri;
use ureq::http::uri::{Authority, PathAndQuery, Scheme};

/// Where the bridge has its statistics when the URL says nothing of a path.
const DEFAULT_PATH: &str = "/colibri/stats";

/// The longest URL, in bytes.
pub(super) const MAX_URL: usize = 2048;

/// The URL of a bridge's statistics: http or https. `user:password@` is taken out of it and kept apart, so that no way of
/// printing it shows a credential. A query may hold a token and is not printed either.
#[derive(Clone, PartialEq, Eq)]
pub struct BridgeUrl {
    uri: Uri,
    authorization: Option<String>,
}

impl BridgeUrl {
    /// Reads a URL as a person types it. Without a path it means `/colibri/stats`. User and password may be percent-encoded.
    ///
    /// # Errors
    ///
    /// If it is not an http or https URL. The text says what is wrong and quotes the URL without credentials and query.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_URL {
            return Err(format!("a URL of {} bytes is too long; {MAX_URL} are the most", text.len()));
        }
        let quoted = || quoted(text);
        let uri: Uri = text.parse().map_err(|error| format!("{} is not a URL: {error}", quoted()))?;
        let mut parts = uri.into_parts();
        if !parts.scheme.as_ref().is_some_and(|scheme| matches!(scheme.as_str(), "http" | "https")) {
            return Err(format!("{} does not begin with http:// or https://", quoted()));
        }
        let authority = parts.authority.take().ok_or_else(|| format!("{} has no host", quoted()))?;
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
            return Err(format!(
                "{} has an IPv6 zone, which is not supported: use a name or another address",
                quoted()
            ));
        }
        let host: Authority = host.parse().map_err(|error| format!("{} has no valid host: {error}", quoted()))?;
        let port = host.as_str().strip_prefix(host.host()).and_then(|rest| rest.strip_prefix(':'));
        if host.host().is_empty() || port.is_some_and(|port| !port.parse().is_ok_and(|port: u16| port > 0)) {
            return Err(format!("{} has no valid host and port", quoted()));
        }
        // An unencoded slash in a password ends the host before the @: the rest of the password looks like a path.
        if parts.path_and_query.as_ref().is_some_and(|path| path.as_str().contains('@')) {
            return Err(format!("{} has an @ in its path; in a password / is written %2F", quoted()));
        }
        // The same with a fragment, which the parts do not have any more.
        if text.split_once('#').is_some_and(|(_, fragment)| fragment.contains('@')) {
            return Err(format!("{} has an @ behind a #; in a password # is written %23", quoted()));
        }
        parts.authority = Some(host);
        let query = parts.path_and_query.as_ref().and_then(PathAndQuery::query);
        if parts.path_and_query.as_ref().is_none_or(|path| matches!(path.path(), "" | "/")) {
            let path = query.map_or_else(|| DEFAULT_PATH.to_owned(), |query| format!("{DEFAULT_PATH}?{query}"));
            parts.path_and_query = path.parse().ok();
        }
        let uri = Uri::from_parts(parts).map_err(|error| format!("{} is not a URL: {error}", quoted()))?;
        Ok(Self { uri, authorization })
    }

    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The value of the `Authorization` header, if the URL had a user.
    pub(super) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }
}

/// The URL without credentials and query.
impl fmt::Display for BridgeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_query(self.uri.to_string()))
    }
}

impl fmt::Debug for BridgeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BridgeUrl({self})")
    }
}

/// What was typed, in quotes, for an error: it may be a URL in the wrong place.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", without_query(without_credentials(text)))
}

/// What may be quoted of a text that was meant as a URL but is not valid: nothing before the last `@`, because a password with
/// an unencoded `/` or `@` is just what makes a URL invalid.
fn without_credentials(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) if !scheme.contains('@') => format!("{scheme}://***@{rest}"),
        (_, Some((_, rest))) => format!("***@{rest}"),
        _ => text.to_owned(),
    }
}

/// A URL up to its query, which may hold a token.
fn without_query(mut url: String) -> String {
    if let Some(query) = url.find('?') {
        url.truncate(query);
        url.push_str("?***");
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_type() {
        for (typed, url) in [
            ("http://localhost:8080/colibri/stats", "http://localhost:8080/colibri/stats"),
            ("http://localhost:8080", "http://localhost:8080/colibri/stats"),
            ("http://localhost:8080/", "http://localhost:8080/colibri/stats"),
            ("https://jitsi.example.org", "https://jitsi.example.org/colibri/stats"),
            ("HTTP://[::1]:8080", "http://[::1]:8080/colibri/stats"),
            ("http://jvb:8080/stats?x=1", "http://jvb:8080/stats?***"),
            ("http://jvb:8080?x=1", "http://jvb:8080/colibri/stats?***"),
            ("http://me:secret@jvb/x", "http://jvb/x"),
        ] {
            assert_eq!(BridgeUrl::parse(typed).unwrap().to_string(), url, "{typed}");
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
        ] {
            let error = BridgeUrl::parse(typed).unwrap_err();
            assert!(error.starts_with(complaint), "{typed}: {error}");
        }
    }

    #[test]
    fn turns_user_and_password_into_basic_auth() {
        for (typed, credentials) in [
            ("http://me:secret@jvb/", "me:secret"),
            ("http://me@jvb/", "me:"),
            ("http://me:p%40ss%3aword%C3%A9@jvb/", "me:p@ss:word\u{e9}"),
            ("http://me:a:b@jvb/", "me:a:b"),
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
        assert_eq!(quoted("http://me:sec/secret@jvb:x/"), "\"http://***@jvb:x/\"");
        let url = BridgeUrl::parse("http://jvb/?token=secret").unwrap();
        assert_eq!(url.uri().query(), Some("token=secret"));
        let url = BridgeUrl::parse("http://me:secret@jvb/").unwrap();
        assert_eq!(format!("{url:?}"), "BridgeUrl(http://jvb/colibri/stats)");
    }
}
