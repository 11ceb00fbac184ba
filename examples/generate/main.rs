//! Writes every file that is made from the code and its tables: `cargo run --example generate`, or `make generate`.
//! `tests/generated.rs` compares the committed files with the same list.

mod files;

use std::fs;

fn main() -> std::io::Result<()> {
    for file in files::all() {
        let path = files::root().join(&file.path);
        if fs::read_to_string(&path).is_ok_and(|found| found == file.content) {
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, file.content)?;
        println!("wrote {}", file.path);
    }
    for path in files::leftover() {
        fs::remove_file(files::root().join(&path))?;
        println!("removed {path}");
    }
    Ok(())
}
