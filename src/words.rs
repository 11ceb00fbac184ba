//! Text from elsewhere in log lines and errors: typed text without credentials, and errors of the operating system.

use std::io;

/// Quotes typed text for an error, without credentials: any value may be a URL in the wrong place.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", without_query(without_credentials(text)))
}

/// Removes credentials from a text that was meant as a URL but may be invalid: everything before the last `@`, because a password
/// with an unencoded `/` or `@` is a common reason why a URL is invalid.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) if !scheme.contains('@') => format!("{scheme}://***@{rest}"),
        (_, Some((_, rest))) => format!("***@{rest}"),
        _ => text.to_owned(),
    }
}

/// Replaces the query or the fragment of a URL, which may contain a token.
#[must_use]
pub fn without_query(mut url: String) -> String {
    if let Some(mark) = url.find(['?', '#']) {
        url.truncate(mark + 1);
        url.push_str("***");
    }
    url
}

/// An error of the operating system, without the prefix and the error number that Rust adds.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let words = words.strip_prefix("failed to lookup address information: ").unwrap_or(words);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_no_credential() {
        for (typed, shown) in [
            ("5x", "\"5x\""),
            ("http://me:sec/secret@jvb:x/", "\"http://***@jvb:x/\""),
            ("me:secret@jvb", "\"***@jvb\""),
            ("http://jvb/?token=secret", "\"http://jvb/?***\""),
            ("http://jvb/#token=secret", "\"http://jvb/#***\""),
        ] {
            assert_eq!(quoted(typed), shown);
        }
    }

    #[test]
    fn errors_of_the_system_are_plain() {
        assert_eq!(plain(&io::Error::from_raw_os_error(2)), "no such file or directory");
        let lookup = io::Error::other("failed to lookup address information: Name or service not known");
        assert_eq!(plain(&lookup), "name or service not known");
    }
}
