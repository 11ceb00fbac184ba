//! Links in the documents lead to files and headings that exist: in the tree, or in the folder of a release that the variable
//! `JITSIEXPORTER_TEST_DOCUMENTS` names.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that contain no documents of this project.
const SKIPPED: [&str; 4] = ["target", "dist", ".git", "mutants.out"];

fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.is_symlink() && !SKIPPED.iter().any(|skipped| path.ends_with(skipped)) {
            found.extend(documents(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// The text without fenced code, where brackets and hash signs mean something else.
fn prose(document: &Path) -> String {
    let text = fs::read_to_string(document).unwrap_or_default();
    let mut fenced = false;
    let outside = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    };
    text.lines().filter(outside).collect::<Vec<_>>().join("\n")
}

/// Whether a document has a heading with this anchor, made as GitHub does.
fn has_heading(document: &Path, anchor: &str) -> bool {
    prose(document).lines().filter(|line| line.starts_with('#')).any(|heading| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().replace(' ', "-") == anchor
    })
}

#[test]
fn links_lead_to_existing_files_and_headings() {
    let released = std::env::var("JITSIEXPORTER_TEST_DOCUMENTS").ok();
    let root = fs::canonicalize(released.as_deref().unwrap_or(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (mut checked, mut broken) = (0, Vec::new());
    for document in documents(&root) {
        let text = prose(&document);
        // The targets of [text](target) and ![text](target).
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        // The releases of the repository are a page beside its files.
        let beside = |link: &str| released.is_none() && link.contains("../../releases");
        let elsewhere = |link: &&str| link.contains("://") || link.starts_with("mailto:") || beside(link);
        for link in links.filter(|link| !elsewhere(link)) {
            checked += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            let target = fs::canonicalize(target).ok().filter(|target| target.starts_with(&root));
            if !target.is_some_and(|target| anchor.is_empty() || has_heading(&target, anchor)) {
                broken.push(format!("{}: there is no {link}", document.display()));
            }
        }
    }
    assert!(checked > 20, "only {checked} links were found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
