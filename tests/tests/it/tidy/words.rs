//! Words that do not belong in sources: unfinished work, advertising, rooms without a name.

/// Spelled apart, so that this file does not find itself.
const BANNED: [(&str, &str); 11] = [
    ("FIX", "ME"),
    ("X", "XX"),
    ("HA", "CK"),
    ("todo", "!("),
    ("unimple", "mented!("),
    ("blazing", "ly"),
    ("seam", "less"),
    ("world-", "class"),
    ("cutting-", "edge"),
    ("state of the", " art"),
    ("lever", "ages "),
];

const NAMELESS: [&str; 5] = ["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs"];

#[test]
fn sources_are_finished_and_plain() {
    let mut found = Vec::new();
    for (path, text) in super::sources() {
        for (head, tail) in BANNED {
            let word = format!("{head}{tail}");
            let lines = text
                .lines()
                .enumerate()
                .filter(|(_, line)| line.contains(&word));
            found.extend(lines.map(|(at, line)| format!("{path}:{}: {}", at + 1, line.trim())));
        }
        if NAMELESS
            .iter()
            .any(|name| path.ends_with(&format!("/{name}")))
        {
            found.push(format!("{path}: name it after what is in it"));
        }
        let picture = |c: char| ('\u{1F300}'..='\u{1FAFF}').contains(&c);
        // What upstream prints with a picture, we print with the same one.
        let quoted = path == "cli/src/ui/events.rs";
        let pictures = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !quoted && line.contains(picture));
        found.extend(pictures.map(|(at, _)| format!("{path}:{}: a picture", at + 1)));
    }
    assert!(found.is_empty(), "{found:#?}");
}
