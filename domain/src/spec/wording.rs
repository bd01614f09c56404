//! Turns what the parsers say into what a user needs: one wording for YAML files and JSON requests.

use super::spec_error::SpecError;

/// Where each key belongs that people like to put at the top.
const ELSEWHERE: [(&str, &str); 12] = [
    ("gpu", "resources"),
    ("gpus", "resources"),
    ("cpu", "resources"),
    ("memory", "resources"),
    ("disk", "resources"),
    ("shm_size", "resources"),
    ("hosts", "ssh_config"),
    ("identity_file", "ssh_config"),
    ("network", "ssh_config"),
    ("proxy_jump", "ssh_config"),
    ("on_events", "retry"),
    ("cron", "schedule"),
];

/// `path` is where the parser was, `raw` what it said.
pub(crate) fn reworded(path: &str, raw: &str) -> SpecError {
    // A configuration inside a request is parsed on its own; its part of the path arrives in the message.
    if let Some((inner, message)) = raw
        .strip_prefix(INNER_PREFIX)
        .and_then(|rest| rest.split_once(INNER_END))
    {
        let parent = if path == "." { "" } else { path };
        return reworded(inner, message).under(parent);
    }
    let (path, raw) = (path.trim_matches('.'), raw.trim());
    unknown(path, raw)
        .or_else(|| missing(path, raw))
        .or_else(|| mismatch(path, raw))
        .or_else(|| whole_file(path, raw))
        .unwrap_or_else(|| SpecError::new(path, raw))
}

const LONGEST_QUOTE: usize = 40;

pub(crate) const INNER_PREFIX: &str = "in `";
pub(crate) const INNER_END: &str = "`: ";

fn unknown(path: &str, raw: &str) -> Option<SpecError> {
    let is_key = raw.starts_with("unknown field `");
    let rest = raw
        .strip_prefix("unknown field `")
        .or_else(|| raw.strip_prefix("unknown variant `"))?;
    let (name, rest) = rest.split_once('`')?;
    let allowed = names(rest);
    let message = if is_key {
        format!("unknown key `{name}`")
    } else {
        format!("`{name}` is not one of the allowed values")
    };
    let close = nearest(name, &allowed).map(|close| format!("did you mean `{close}`?"));
    let elsewhere = || {
        let (_, parent) = ELSEWHERE
            .iter()
            .find(|(key, parent)| *key == name && allowed.iter().any(|one| one == parent))?;
        Some(format!("put it under `{parent}:`"))
    };
    let hint = if is_key { elsewhere().or(close) } else { close };
    // A long list helps only when no single answer is at hand.
    let list = if hint.is_some() && allowed.len() > 12 {
        Vec::new()
    } else {
        allowed
    };
    let path = path
        .strip_suffix(name)
        .map_or(path, |parent| if is_key { parent } else { path });
    let path = path.trim_end_matches('.');
    let full = match (is_key, path.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{path}.{name}"),
        (false, _) => path.to_owned(),
    };
    Some(SpecError::new(full, message).with_advice(list, hint))
}

/// `, expected one of a, b` and `, expected `a` or `b``, with or without backquotes.
fn names(rest: &str) -> Vec<String> {
    let Some((_, list)) = rest.split_once("expected ") else {
        return Vec::new();
    };
    let list = list.strip_prefix("one of ").unwrap_or(list);
    list.split([',', ' '])
        .map(|word| word.trim_matches('`'))
        .filter(|word| !word.is_empty() && *word != "or")
        .map(str::to_owned)
        .collect()
}

fn missing(path: &str, raw: &str) -> Option<SpecError> {
    let name = raw.strip_prefix("missing field `")?.split('`').next()?;
    let advice = raw
        .split_once(", expected ")
        .map(|(_, advice)| names(&format!("expected {advice}")));
    let full = if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    };
    Some(
        SpecError::new(full, format!("the key `{name}` is missing"))
            .with_advice(advice.unwrap_or_default(), None),
    )
}

fn mismatch(path: &str, raw: &str) -> Option<SpecError> {
    let (expected, found) = if let Some(rest) = raw
        .strip_prefix("invalid type: ")
        .or_else(|| raw.strip_prefix("invalid value: "))
    {
        let (found, expected) = rest.split_once(", expected ")?;
        (kind(expected), format!(", found {}", value(found)))
    } else if raw == "cannot deserialize null into string; use Option<String>" {
        ("text".to_owned(), ", found nothing (null)".to_owned())
    } else if let Some(ty) = raw.strip_prefix("invalid ") {
        (kind(ty), String::new())
    } else {
        let shape = raw.strip_prefix("expected ")?;
        let expected = match shape {
            "sequence start" => "a list",
            "mapping start" => "a mapping",
            "string scalar" => "text",
            _ => return None,
        };
        (expected.to_owned(), String::new())
    };
    let hint = match expected.as_str() {
        "a list" => Some("write one item per line, each after `- `, or `[one, two]`".to_owned()),
        "a mapping" => Some("write `key: value` lines, indented under it".to_owned()),
        "text" if found.is_empty() || found.contains("mapping") => {
            Some("text that contains `: ` or begins with a bracket must stand in quotes".to_owned())
        }
        _ => None,
    };
    Some(SpecError::new(path, format!("expected {expected}{found}")).with_advice(Vec::new(), hint))
}

/// Words for the types of the parsers.
fn kind(ty: &str) -> String {
    let words = match ty {
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number of 0 or more",
        "f32" | "f64" | "floating point" => "a number",
        "boolean" | "a boolean" | "bool" => "`true` or `false`",
        "a string" | "string" | "str" => "text",
        "a sequence" => "a list",
        "a map" => "a mapping",
        _ if ty.starts_with("struct ") => "a mapping",
        _ => ty,
    };
    words.to_owned()
}

fn value(found: &str) -> String {
    for (prefix, words) in [
        ("string ", ""),
        ("integer ", ""),
        ("floating point ", ""),
        ("boolean ", ""),
    ] {
        if let Some(rest) = found.strip_prefix(prefix) {
            // Never the whole of it: it may be a key that stands in the wrong place.
            let shown = rest.trim_matches(['"', '`']);
            let short: String = shown.chars().take(LONGEST_QUOTE).collect();
            let cut = if short.len() < shown.len() { "…" } else { "" };
            return format!("{words}`{short}{cut}`");
        }
    }
    match found {
        "null" | "unit value" | "Option value" => "nothing (null)".to_owned(),
        "map" => "a mapping".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => found.to_owned(),
    }
}

fn whole_file(path: &str, raw: &str) -> Option<SpecError> {
    if let Some(rest) = raw.strip_prefix("duplicate mapping key: ") {
        let name = rest.split(',').next().unwrap_or(rest);
        return Some(SpecError::new(
            name,
            format!("the key `{name}` is given twice"),
        ));
    }
    if let Some(rest) = raw.strip_prefix("duplicate field `") {
        let name = rest.split('`').next().unwrap_or(rest);
        return Some(SpecError::new(
            path,
            format!("the key `{name}` is given twice"),
        ));
    }
    if raw.starts_with("multiple YAML documents") {
        let error = SpecError::new("", "the file holds more than one document");
        return Some(error.with_hint(
            "put each configuration into a file of its own; `---` separates documents",
        ));
    }
    if raw.starts_with("recursive references") {
        return Some(SpecError::new(
            "",
            "an alias refers to the value it stands in",
        ));
    }
    if raw.starts_with("mapping values are not allowed") || raw.starts_with("unexpected character")
    {
        let hint = "text that contains `: ` or begins with a special character must stand in quotes; else check the indentation";
        return Some(SpecError::new("", raw).with_hint(hint));
    }
    if raw.starts_with("illegal placement of ':'") {
        let hint = "a bracket or brace on a line above may not be closed";
        return Some(SpecError::new("", "a `:` that cannot stand here").with_hint(hint));
    }
    if raw.starts_with("tabs disallowed") {
        return Some(
            SpecError::new("", "a tab is used for indentation")
                .with_hint("YAML is indented with spaces only"),
        );
    }
    None
}

/// The allowed word that differs in a letter or two, or in `-` against `_`.
pub(crate) fn nearest<'a>(word: &str, allowed: &'a [String]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    let reach = if word.chars().count() <= 3 { 1 } else { 2 };
    allowed
        .iter()
        .map(|one| (distance(&word, &plain(one)), one))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, one)| one.as_str())
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let allowed: Vec<String> = ["gpu", "cpu", "spot_policy", "image"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(nearest("gpus", &allowed), Some("gpu"));
        assert_eq!(nearest("spot-policy", &allowed), Some("spot_policy"));
        assert_eq!(nearest("imgae", &allowed), Some("image"));
        assert_eq!(nearest("entirely", &allowed), None);
    }

    #[test]
    fn json_and_yaml_say_the_same() {
        let json = reworded("nodes", "invalid type: string \"two\", expected i64");
        assert_eq!(
            json.one_line(),
            "nodes: expected a whole number, found `two`"
        );
        let inner = reworded(
            "run_spec.configuration",
            "in `resources.gpus`: unknown field `gpus`, expected one of `cpu`, `gpu`",
        );
        assert_eq!(
            inner.one_line(),
            "run_spec.configuration.resources.gpus: unknown key `gpus`; allowed: cpu, gpu; did you mean `gpu`?"
        );
    }
}
