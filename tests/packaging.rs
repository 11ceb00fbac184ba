//! Checks that the handwritten files in `deploy` agree with the program and with each other. `tests/generated.rs` compares the
//! generated files.

use std::fs;
use std::path::Path;

use jitsiexporter::cli::{OPTIONS, parse};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The path and the text of every file in `deploy`.
fn deploy() -> Vec<(String, String)> {
    fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                collect(&path, found);
            } else {
                found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(ROOT).join("deploy"), &mut found);
    found
}

/// The words of a text that begin with `prefix`, without it. A word ends at the first character that is not part of one.
fn words<'a>(text: &'a str, prefix: &'a str, is_part: fn(char) -> bool) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        &rest[..rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())]
    })
}

#[test]
fn option_file_holds_the_defaults() {
    let text = read("deploy/systemd/jitsiexporter.default");
    let assignments = text.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let variables = assignments.filter(|(name, _)| name.starts_with("JITSIEXPORTER_"));
    let variables: Vec<_> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(variables.len() > 5, "{text}");
    assert_eq!(format!("{:?}", parse(&[], &variables)), format!("{:?}", parse(&[], &[])));
}

#[test]
fn deploy_mentions_only_variables_that_exist() {
    // Of the build, of compose, and of a test that a check runs.
    let mut known = vec!["JITSIEXPORTER_COMMIT", "JITSIEXPORTER_IMAGE", "JITSIEXPORTER_TEST_DOCUMENTS"];
    known.extend(OPTIONS.iter().map(|option| option.variable));
    for (path, text) in deploy() {
        for word in words(&text, "JITSIEXPORTER_", |c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
            let variable = format!("JITSIEXPORTER_{word}");
            assert!(word.is_empty() || known.contains(&&*variable), "{path}: {variable} is not an option");
        }
    }
}

#[test]
fn deploy_mentions_only_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (path, text) in deploy() {
        // `jitsiexporter:1.0.0` is an image, `jitsiexporter:9700` an address.
        for tag in words(&text, "jitsiexporter:", |c| c.is_ascii_alphanumeric() || c == '.' || c == '-') {
            assert!(!tag.contains('.') || tag == version, "{path}: jitsiexporter:{tag} is not {version}");
        }
    }
    assert!(read("CHANGELOG.md").contains(&format!("\n## {version}")), "CHANGELOG.md lacks {version}");
    let values = read("deploy/kubernetes/jitsi-helm-legacy.yaml");
    assert!(values.contains(&format!("    tag: {version}\n")), "the values for jitsi-helm lack {version}");
    let role = read("deploy/ansible/jitsiexporter/defaults/main.yml");
    assert!(role.contains(&format!("jitsiexporter_version: {version}\n")), "the Ansible role lacks {version}");
}

#[test]
fn both_dockerfiles_build_the_same_image() {
    let settings = |path: &str| -> Vec<String> {
        let text = read(path);
        let last = text.rsplit_once("FROM scratch\n").unwrap_or_else(|| panic!("{path} does not end in scratch")).1;
        let wanted = ["ENV", "EXPOSE", "USER", "ENTRYPOINT", "LABEL", "     org."];
        last.lines().filter(|line| wanted.iter().any(|word| line.starts_with(word))).map(str::to_owned).collect()
    };
    let source = settings("deploy/docker/Dockerfile");
    assert_eq!(source, settings("deploy/docker/Dockerfile.release"));
    for line in [
        "ENV JITSIEXPORTER_LISTEN_ADDRESS=:9700",
        "EXPOSE 9700 9888",
        "USER 10001:10001",
        "ENTRYPOINT [\"/jitsiexporter\"]",
    ] {
        assert!(source.iter().any(|found| found == line), "the image lacks {line}");
    }
}
