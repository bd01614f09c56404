//! Files of at most 600 lines, functions of at most 70, entrances that only lead further.

use std::collections::BTreeMap;

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

#[test]
fn files_and_functions_stay_small() {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for (path, text) in super::sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES {
            found.insert(path.clone(), lines);
        }
        for (name, lines) in functions(&text) {
            if lines > FUNCTION_LINES {
                found.insert(format!("{path}::{name}"), lines);
            }
        }
        if is_entrance(&path) && has_code(&text) {
            found.insert(format!("{path} (has code of its own)"), 1);
        }
    }
    let known = exceptions();
    let grown: Vec<String> = found
        .iter()
        .filter(|(what, lines)| known.get(*what).is_none_or(|most| *lines > most))
        .map(|(what, lines)| format!("{what}: {lines}"))
        .collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let list: String = found
            .iter()
            .map(|(what, lines)| format!("{what}: {lines}\n"))
            .collect();
        return super::write_list("exceptions.txt", &list);
    }
    assert!(
        grown.is_empty(),
        "too large, or with code where only names belong: {grown:#?}"
    );
}

fn exceptions() -> BTreeMap<String, usize> {
    let path = super::root().join("tests/tests/it/tidy/exceptions.txt");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let parse = |line: &str| {
        let (what, lines) = line.rsplit_once(": ")?;
        Some((what.to_owned(), lines.parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

/// Names and lengths of functions, relying on rustfmt's indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some(rest) = after_fn(trimmed) else {
            continue;
        };
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let end = format!("{}}}", &line[..line.len() - trimmed.len()]);
        let one_line = trimmed.ends_with('}') || trimmed.ends_with(';');
        let length = if one_line {
            Some(0)
        } else {
            lines[at..].iter().position(|later| **later == end)
        };
        found.extend(length.map(|length| (name, length + 1)));
    }
    found
}

/// What follows `fn ` when the line begins a function.
fn after_fn(line: &str) -> Option<&str> {
    let mut rest = line;
    loop {
        if let Some(name) = rest.strip_prefix("fn ") {
            return Some(name);
        }
        let (word, tail) = rest.split_once(' ')?;
        let qualifies = matches!(word, "pub" | "async" | "const" | "unsafe" | "extern")
            || word.starts_with("pub(");
        rest = if qualifies { tail } else { return None };
    }
}

fn is_entrance(path: &str) -> bool {
    (path.ends_with("/lib.rs") || path.ends_with("/mod.rs")) && path.contains("/src/")
}

/// An entrance explains and re-exports; functions, types and impls belong in rooms.
fn has_code(text: &str) -> bool {
    text.lines().any(|line| {
        let words = ["fn ", "struct ", "enum ", "impl ", "trait ", "static "];
        let line = line
            .strip_prefix("pub ")
            .or_else(|| line.strip_prefix("pub(crate) "))
            .unwrap_or(line);
        let line = line.strip_prefix("async ").unwrap_or(line);
        words.iter().any(|word| line.starts_with(word)) || line.starts_with("impl<")
    })
}

#[test]
fn functions_are_measured() {
    let text = "impl X {\n    pub(crate) async fn long(\n        &self,\n    ) {\n        work();\n    }\n}\nfn short() {}\n";
    assert_eq!(
        functions(text),
        [("long".to_owned(), 5), ("short".to_owned(), 1)]
    );
    assert!(has_code("//! x\npub fn a() {}\n") && !has_code("//! x\npub mod a;\npub use a::b;\n"));
}
