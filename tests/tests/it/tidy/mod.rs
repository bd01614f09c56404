//! The rules of the house, as tests. What breaks a size rule today is listed in `exceptions.txt`
//! and may shrink, not grow; `UPDATE_GOLDEN=1` writes the list anew, for review.

mod arrows;
mod sizes;
mod words;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace is above")
        .to_owned()
}

/// Every Rust source file of ours, with its path from the root and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for crate_dir in [
        "domain", "storage", "raft", "api", "backends", "deploy", "agent", "node", "cli", "tests",
        "chaos",
    ] {
        collect(&root(), &root().join(crate_dir), &mut found);
    }
    found.sort();
    assert!(
        found.len() > 50,
        "the sources are where they are looked for"
    );
    found
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<(String, String)>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && let (Ok(text), Ok(short)) = (std::fs::read_to_string(&path), path.strip_prefix(root))
        {
            found.push((short.display().to_string(), text));
        }
    }
}

/// Writes a list beside this file.
fn write_list(name: &str, text: &str) {
    let path = root().join("tests/tests/it/tidy").join(name);
    std::fs::write(path, text).expect("the list can be written");
}
