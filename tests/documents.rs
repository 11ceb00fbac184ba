//! Links in the documents lead to files and headings that exist.

use std::fs;
use std::path::{Component, Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Folders that contain no documents of this project.
const SKIPPED: [&str; 4] = ["target", "dist", ".git", "mutants.out"];

fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            if !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                found.extend(documents(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// The text without fenced code, where brackets mean something else.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let outside = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    };
    text.lines().filter(outside).collect::<Vec<_>>().join("\n")
}

/// The targets of `[text](target)` and `![text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// The anchors of the headings, made as GitHub does.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect::<String>()
    };
    headings.map(|heading| slug(heading).replace(' ', "-")).collect()
}

/// The path without `..`, so that an error names a file in the repository.
fn normalised(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = whole.pop(),
            part => whole.push(part),
        }
    }
    whole
}

#[test]
fn links_lead_to_existing_files_and_headings() {
    let (mut checked, mut broken) = (0, Vec::new());
    for document in documents(Path::new(ROOT)) {
        let text = prose(&fs::read_to_string(&document).unwrap());
        let name = document.strip_prefix(ROOT).unwrap().display();
        for link in links(&text).filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            checked += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            let target = normalised(&target);
            if !target.starts_with(ROOT) || !target.exists() {
                broken.push(format!("{name}: {link}: there is no such file"));
            } else if !anchor.is_empty() {
                let headings = anchors(&prose(&fs::read_to_string(&target).unwrap_or_default()));
                if !headings.iter().any(|heading| heading == anchor) {
                    broken.push(format!("{name}: {link}: there is no such heading"));
                }
            }
        }
    }
    assert!(checked > 20, "only {checked} links were found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
