//! The generated files that are committed are those that `make generate` writes.

#[path = "../examples/generate/files/mod.rs"]
mod files;

use std::fs;

#[test]
fn generated_files_are_up_to_date() {
    let mut stale = Vec::new();
    for file in files::all() {
        let found = fs::read_to_string(files::root().join(&file.path)).unwrap_or_default();
        if found != file.content {
            let same = found.lines().zip(file.content.lines()).take_while(|(found, wanted)| found == wanted).count();
            let line = |text: &str| text.lines().nth(same).unwrap_or("(end of file)").to_owned();
            stale.push(format!(
                "{}:{}\n  found    {}\n  expected {}",
                file.path,
                same + 1,
                line(&found),
                line(&file.content)
            ));
        }
    }
    assert!(stale.is_empty(), "`make generate` updates these files:\n{}", stale.join("\n"));
    assert_eq!(files::leftover(), Vec::<String>::new(), "`make generate` removes these files");
}
