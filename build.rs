//! Tells the program which commit it was built from.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=JITSIEXPORTER_COMMIT");
    let version = std::env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    match revision() {
        Some(revision) => {
            println!("cargo::rustc-env=BUILD_VERSION={version} ({revision})");
            println!("cargo::rustc-env=BUILD_REVISION={revision}");
        }
        None => println!("cargo::rustc-env=BUILD_VERSION={version}"),
    }
}

/// The first 12 digits of the commit: from the environment (for builds without a repository, such as in a container), from the file
/// that `cargo publish` puts into the package, or from git.
fn revision() -> Option<String> {
    let given = std::env::var("JITSIEXPORTER_COMMIT").ok().filter(|commit| !commit.is_empty());
    let packaged = || {
        let info = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
        info.split('"').find(|part| part.len() == 40).map(str::to_owned)
    };
    let commit = given.or_else(packaged).or_else(from_git)?;
    Some(commit.chars().take(12).collect())
}

fn from_git() -> Option<String> {
    // A package that is unpacked inside another repository must not use the commit of that repository.
    if !Path::new(".git").exists() {
        return None;
    }
    // In a worktree, `.git` is a file, and git knows where these files are.
    for path in ["HEAD", "logs/HEAD"].into_iter().filter_map(|path| git(&["rev-parse", "--git-path", path])) {
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
