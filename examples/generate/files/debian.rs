//! Debian's changelog, from CHANGELOG.md.

use time::Date;
use time::format_description::well_known::Rfc2822;
use time::macros::format_description;

use super::{File, read};

const MAINTAINER: &str = "jitsiexporter maintainers <maintainers@jitsiexporter.example>";

/// A release in CHANGELOG.md.
pub struct Release {
    pub version: String,
    /// Year-month-day.
    pub date: String,
}

/// The releases of CHANGELOG.md, newest first. A section without a date is not released yet.
pub fn releases() -> Vec<Release> {
    let text = read("CHANGELOG.md");
    let headings = text.lines().filter_map(|line| line.strip_prefix("## ")?.split_once(" - "));
    headings.map(|(version, date)| Release { version: version.to_owned(), date: date.to_owned() }).collect()
}

pub fn files() -> Vec<File> {
    let entries: Vec<_> = releases().iter().map(entry).collect();
    vec![File::new("deploy/debian/changelog", entries.join("\n"))]
}

fn entry(Release { version, date }: &Release) -> String {
    let day = Date::parse(date, format_description!("[year]-[month]-[day]")).expect("a date in CHANGELOG.md");
    let time = day.midnight().assume_utc().format(&Rfc2822).expect("the year has four digits");
    format!(
        "jitsiexporter ({version}-1) stable; urgency=medium\n\n  \
         * Release {version}; changelog.gz in this folder says what is new.\n\n \
         -- {MAINTAINER}  {time}\n"
    )
}
