//! The words of others, as a line for a person may show them: what was typed, and errors of the operating system.

use std::io;

/// What was typed, in quotes, for an error: it may be a URL in the wrong place.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", without_query(without_credentials(text)))
}

/// What may be quoted of a text that was meant as a URL but is not valid: nothing before the last `@`, because a password with
/// an unencoded `/` or `@` is just what makes a URL invalid.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) if !scheme.contains('@') => format!("{scheme}://***@{rest}"),
        (_, Some((_, rest))) => format!("***@{rest}"),
        _ => text.to_owned(),
    }
}

/// A URL up to its query, which may hold a token.
#[must_use]
pub fn without_query(mut url: String) -> String {
    if let Some(query) = url.find('?') {
        url.truncate(query);
        url.push_str("?***");
    }
    url
}

/// An error of the operating system in its own words, without those of Rust.
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
