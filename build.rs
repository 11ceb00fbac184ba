//! Tells the program which commit it was built from.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=JITSIEXPORTER_COMMIT");
    let version = std::env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let version = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=JITSIEXPORTER_VERSION={version}");
}

/// Given by whoever builds without a repository (a container), or written into the package by `cargo publish`, or asked of git.
fn commit() -> Option<String> {
    if let Some(given) = std::env::var("JITSIEXPORTER_COMMIT").ok().filter(|commit| !commit.is_empty()) {
        return Some(short(&given));
    }
    if let Ok(packaged) = std::fs::read_to_string(".cargo_vcs_info.json") {
        return packaged.split('"').find(|part| part.len() == 40).map(short);
    }
    // A package unpacked inside some other repository must not take that one's commit.
    if !Path::new(".git").exists() {
        return None;
    }
    for changed in [".git/HEAD", ".git/logs/HEAD"].into_iter().filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={changed}");
    }
    let git = Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(git.stdout).ok()?;
    git.status.success().then(|| short(commit.trim()))
}

fn short(commit: impl AsRef<str>) -> String {
    commit.as_ref().chars().take(12).collect()
}
