//! Finds the cause of a failed scrape that the URL and the head of the response tell.

use ureq::Body;
use ureq::http::{Response, Uri, header};

use super::url::PATHS;
use super::{BridgeUrl, Source, is_https};
use crate::error::{Cause, ScrapeError};
use crate::words::{without_credentials, without_query};

/// The port of Jicofo, which also serves `/stats`.
const JICOFO: u16 = 8888;

/// Other paths of a bridge that answer with JSON, and what it contains. Since 2.3-222 (April 2025), `/stats` and `/debug` answer
/// even if the REST API is off.
const OTHERS: &[(&str, &str)] = &[
    ("/stats", "debug data"),
    ("/debug", "debug data"),
    ("/colibri/drain", "the state of drain mode"),
    ("/about/version", "the version"),
];

/// The error for a response whose status is not 200.
#[cold]
pub(super) fn status(url: &BridgeUrl, asked: &Uri, response: &Response<Body>) -> ScrapeError {
    let code = response.status().as_u16();
    let both = url.uris().1 == Some(asked);
    let cause = match code {
        404 if both => Cause::NotFoundBoth,
        404 if asked.path().ends_with(PATHS[0]) => Cause::NotFound,
        404 if asked.path().ends_with(PATHS[1]) => Cause::NotFoundMetrics,
        404 => Cause::NotFoundPath,
        301..=303 | 307 | 308 => Cause::Redirect,
        // Jetty 12 rejects a path with an empty segment.
        400 if asked.path().contains("//") => Cause::BadPath,
        400 if is_https(asked) => Cause::BadRequestInTls,
        400 => Cause::BadRequest,
        401 | 403 if url.authorization().is_some() => Cause::WrongPassword,
        401 | 403 => Cause::Unauthorized,
        502..=504 => Cause::Gateway,
        _ => Cause::Status,
    };
    let target = response.headers().get(header::LOCATION).and_then(|target| target.to_str().ok());
    let error = match target.filter(|_| cause == Cause::Redirect) {
        Some(target) => cause.with(format_args!("to {}", shown(target))),
        None => cause.into(),
    };
    error.code_is(code)
}

/// The target of a redirect, without credentials, and without query and fragment, which may contain a token.
fn shown(target: &str) -> String {
    // A path alone has no credentials, so an @ in its query is not the end of them.
    let is_path = target.starts_with('/') && !target.starts_with("//");
    without_query(if is_path { target.to_owned() } else { without_credentials(target) })
}

/// Makes the error of a document more precise if the URL tells more, and names the paths that were asked. The reason stays the same.
#[cold]
#[must_use]
pub fn document(source: Source, error: ScrapeError) -> ScrapeError {
    source.named(of_path(source.uri, error))
}

fn of_path(from: &Uri, error: ScrapeError) -> ScrapeError {
    let path = from.path().trim_end_matches('/');
    match error.cause() {
        Cause::NoStatistics | Cause::NotObject | Cause::Empty if from.port_u16() == Some(JICOFO) => {
            Cause::Jicofo.with(format_args!("port {JICOFO} is for Jicofo"))
        }
        Cause::NoStatistics | Cause::NotObject | Cause::Empty if !PATHS.iter().any(|known| path.ends_with(known)) => {
            let under =
                |place: &str| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            match OTHERS.iter().find(|(place, _)| under(place)) {
                Some((_, what)) => Cause::OtherPath.with(format_args!("{path} of a bridge contains {what}")),
                None => Cause::OtherPath.with(path),
            }
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(url: &str, second: bool, status: u16, location: &str) -> String {
        let url = BridgeUrl::parse(url).unwrap();
        let uris = url.uris();
        let asked = if second { uris.1.unwrap() } else { uris.0 };
        let response = Response::builder().status(status).header("Location", location);
        let error = super::status(&url, asked, &response.body(Body::builder().data("")).unwrap());
        assert!(error.code() == Some(status) && error.to_string().starts_with(&format!("status {status}")), "{error}");
        format!("{:?}{}", error.cause(), error.to_string().trim_start_matches(|c| c != ':'))
    }

    #[test]
    fn a_status_has_the_cause_for_its_request() {
        let (plain, path) = ("http://jvb:8080", |path: &str| format!("http://jvb:1234{path}"));
        for (url, second, code, cause) in [
            (plain, true, 404, "NotFoundBoth"),
            (&path("/colibri/stats"), false, 404, "NotFound"),
            (&path("/metrics"), false, 404, "NotFoundMetrics"),
            (&path("/stats"), false, 404, "NotFoundPath"),
            (&path("/colibri"), false, 404, "NotFoundPath"),
            (&path("//colibri/stats"), false, 400, "BadPath"),
            (plain, false, 400, "BadRequest"),
            ("https://jvb", false, 400, "BadRequestInTls"),
            (plain, false, 401, "Unauthorized"),
            (plain, false, 403, "Unauthorized"),
            ("http://a:b@jvb", true, 401, "WrongPassword"),
            (plain, false, 204, "Status"),
            (plain, false, 304, "Status"),
            (plain, true, 406, "Status"),
            (plain, false, 500, "Status"),
            (plain, false, 502, "Gateway"),
            (plain, true, 504, "Gateway"),
        ] {
            assert_eq!(answer(url, second, code, "/elsewhere"), cause, "{url} {code}");
        }
    }

    #[test]
    fn a_redirect_shows_its_target_without_secrets() {
        for (target, shown) in [
            ("https://jvb/stats", "https://jvb/stats"),
            ("/login?token=secret", "/login?***"),
            ("/login?user=a@b", "/login?***"),
            ("https://jvb/#secret", "https://jvb/#***"),
            ("http://me:secret@jvb/x", "http://***@jvb/x"),
            ("http://me:se/cret@jvb/x", "http://***@jvb/x"),
            ("http://me:se?cret@jvb/x", "http://***@jvb/x"),
            ("http://me:se#cret@jvb/x", "http://***@jvb/x"),
            ("//me:se?cret@jvb/x", "***@jvb/x"),
        ] {
            assert_eq!(answer("http://jvb", false, 302, target), format!("Redirect: to {shown}"));
        }
    }

    #[test]
    fn a_document_has_the_cause_for_its_path() {
        for (from, cause, expected) in [
            ("http://jvb/stats", Cause::NoStatistics, "/stats of a bridge contains debug data"),
            ("http://jvb/stats/", Cause::Empty, "/stats of a bridge contains debug data"),
            ("http://jvb/debug/jvb", Cause::NoStatistics, "/debug/jvb of a bridge contains debug data"),
            (
                "http://jvb/colibri/drain",
                Cause::NoStatistics,
                "/colibri/drain of a bridge contains the state of drain mode",
            ),
            ("http://jvb/about/version", Cause::NoStatistics, "/about/version of a bridge contains the version"),
            ("http://jvb/statsx", Cause::NotObject, "/statsx"),
            ("http://jvb/colibri/stats", Cause::Empty, "the response is an empty object"),
            ("http://proxy/jvb1/metrics/", Cause::NoStatistics, "the response has no statistics"),
            ("http://jvb/stats", Cause::NotJson, "the response is not JSON"),
            ("http://jvb:8888/stats", Cause::NoStatistics, "not a bridge's: port 8888 is for Jicofo"),
            ("http://jvb:8888/metrics", Cause::NoStatistics, "not a bridge's: port 8888 is for Jicofo"),
        ] {
            let error = of_path(&from.parse().unwrap(), cause.into());
            assert!(error.to_string().contains(expected), "{from}: {error}");
            assert_eq!(error.reason(), cause.explanation().reason);
        }
    }
}
