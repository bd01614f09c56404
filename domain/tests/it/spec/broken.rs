//! Broken files and the messages they get. `UPDATE_GOLDEN=1 cargo test -p dstack-domain` rewrites the messages.

use std::fs;
use std::path::Path;

use dstack_domain::spec::parse_yaml;

#[test]
fn every_broken_file_gets_its_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/broken");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()?
                .strip_suffix(".yml")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(names.len() >= 40, "only {} broken files", names.len());

    let mut wrong = Vec::new();
    for name in &names {
        let file = format!("{name}.yml");
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        let said = match parse_yaml(&file, &text) {
            Err(error) => format!("{error}\n"),
            Ok(read) => format!("accepted as {read:?}\n"),
        };
        let golden = folder.join(format!("{name}.txt"));
        if update {
            fs::write(&golden, &said).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if said != expected || said.starts_with("accepted") {
            wrong.push(format!("{file}\n--- expected\n{expected}--- said\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever is typed, the answer is a configuration or an error, never a panic, and errors can be shown.
#[test]
fn every_beginning_of_a_file_is_answered() {
    let text = include_str!("everything.dstack.yml");
    // A prime step, so that cuts fall everywhere in a line; every cut would take half a minute.
    for (end, _) in text.char_indices().step_by(13) {
        if let Err(error) = parse_yaml("cut.yml", &text[..end]) {
            assert!(error.to_string().starts_with("cut.yml"));
        }
    }
}

/// Every line in turn loses its value, gets a wrong one, or moves.
#[test]
fn every_mangled_line_is_answered() {
    let text = include_str!("everything.dstack.yml");
    let lines: Vec<&str> = text.lines().collect();
    for index in 0..lines.len() {
        let line = lines[index];
        let key = line.split_once(':').map_or(line, |(key, _)| key);
        let replacements = [
            String::new(),
            format!("{key}:"),
            format!("{key}: ~"),
            format!("{key}: [1, {{a: b}}]"),
            format!("{key}: {{a: [1]}}"),
            format!("{key}: -1"),
            format!("{key}: 99999999999999999999"),
            format!("{key}: 1e400"),
            format!("{key}: .nan"),
            format!("{key}: \"\\u0000é\""),
            format!("  {line}"),
        ];
        // Each line gets some of them, each of them many lines.
        for (_, replaced) in replacements
            .iter()
            .enumerate()
            .filter(|(number, _)| (number + index) % 6 == 0)
        {
            let mut changed = lines.clone();
            changed[index] = replaced;
            let _ =
                parse_yaml("mangled.yml", &changed.join("\n")).map_err(|error| error.to_string());
        }
    }
}
