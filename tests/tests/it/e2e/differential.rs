//! Upstream's parser and ours, on the same documents: the same verdict, and the same normal form.

use anyhow::{Context, Result, ensure};
use dstack_chaos::lab::released_python;
use dstack_domain::spec::parse_yaml;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FILES: [&str; 5] = ["task", "resources", "dev", "service", "infra"];
/// What the issue that asked for this wants at least.
const AT_LEAST: usize = 150;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("differential")
}

struct Case {
    name: String,
    text: String,
}

fn cases() -> Result<Vec<Case>> {
    let mut all = Vec::new();
    for file in FILES {
        let path = folder().join(format!("{file}.yml"));
        let text = std::fs::read_to_string(&path).context("reading cases")?;
        let mut parts = text.split("---\n");
        let base = parts.next().unwrap_or_default();
        all.extend(parts.enumerate().map(|(at, part)| Case {
            name: format!("{file}:{}", at + 1),
            text: merged(base, part),
        }));
    }
    Ok(all)
}

/// What a part says replaces what the base says, so that every key can be varied.
fn merged(base: &str, part: &str) -> String {
    let said: Vec<&str> = part.lines().filter_map(key).collect();
    let kept = base
        .lines()
        .filter(|line| key(line).is_none_or(|key| !said.contains(&key)));
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    text.push_str(part);
    text
}

fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    (!key.starts_with([' ', '-', '"'])).then_some(key)
}

fn upstream(cases: &[Case]) -> Result<Vec<Value>> {
    let mut oracle = Command::new(released_python()?)
        .arg(folder().join("oracle.py"))
        .arg(folder().join("../../domain/configuration.schema.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting upstream's parser")?;
    let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
    let mut stdin = oracle.stdin.take().context("its input")?;
    stdin.write_all(&serde_json::to_vec(&texts)?)?;
    drop(stdin);
    let out = oracle.wait_with_output()?;
    Ok(serde_json::from_slice(&out.stdout)?)
}

fn exceptions() -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(folder().join("exceptions.txt"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(' '));
    Ok(pairs
        .map(|(name, why)| (name.to_owned(), why.to_owned()))
        .collect())
}

/// How the two differ, if they do.
fn difference(case: &Case, theirs: &Value) -> Option<String> {
    let ours = parse_yaml("case.yml", &case.text);
    match (ours, theirs.get("ok")) {
        (Err(_), None) => None,
        (Ok(_), None) => Some(format!("only we accept it; upstream: {}", theirs["error"])),
        (Err(error), Some(_)) => Some(format!("only we refuse it: {}", error.one_line())),
        (Ok(ours), Some(theirs)) => {
            let ours = serde_json::to_value(ours).unwrap_or_default();
            let mut places = Vec::new();
            unequal("", &ours, theirs, &mut places);
            (!places.is_empty()).then(|| places.join("; "))
        }
    }
}

/// Numbers are compared by value: 8 and 8.0 are one.
fn unequal(path: &str, ours: &Value, theirs: &Value, places: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys: std::collections::BTreeSet<&String> =
                ours.keys().chain(theirs.keys()).collect();
            for key in keys {
                let (a, b) = (ours.get(key), theirs.get(key));
                let path = format!("{path}/{key}");
                match (a, b) {
                    (Some(a), Some(b)) => unequal(&path, a, b, places),
                    (None, Some(Value::Null)) | (Some(Value::Null), None) => {}
                    _ => places.push(format!("{path}: ours {a:?}, theirs {b:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                unequal(&format!("{path}/{at}"), a, b, places);
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        _ if ours == theirs => {}
        _ => places.push(format!("{path}: ours {ours}, theirs {theirs}")),
    }
}

/// Numbers and switches that YAML gives where a text is wanted, and a text for a number: read as
/// what is wanted, but an editor may well frown.
const FROWNED_AT: [&str; 4] = ["task:101", "task:102", "task:156", "task:191"];

/// What we accept must fit the schema that we publish.
fn misfits(cases: &[Case], theirs: &[Value]) -> Vec<String> {
    let pairs = cases.iter().zip(theirs);
    let accepted = pairs
        .filter(|(case, _)| !FROWNED_AT.contains(&case.name.as_str()))
        .filter(|(case, _)| parse_yaml("case.yml", &case.text).is_ok());
    accepted
        .filter_map(|(case, verdict)| {
            let misfit = verdict["misfit"].as_str()?;
            Some(format!("{}: {misfit}\n{}", case.name, case.text))
        })
        .collect()
}

#[test]
fn both_parsers_say_the_same() -> Result<()> {
    let cases = cases()?;
    ensure!(cases.len() >= AT_LEAST, "{} cases", cases.len());
    let theirs = upstream(&cases)?;
    let excused = exceptions()?;
    let (mut found, mut outdated) = (Vec::new(), Vec::new());
    for (case, theirs) in cases.iter().zip(&theirs) {
        match (difference(case, theirs), excused.contains_key(&case.name)) {
            (Some(how), false) => found.push(format!("{}: {how}\n{}", case.name, case.text)),
            (None, true) => outdated.push(&case.name),
            _ => {}
        }
    }
    ensure!(
        found.is_empty(),
        "{} of {} differ:\n{}",
        found.len(),
        cases.len(),
        found.join("\n")
    );
    ensure!(outdated.is_empty(), "no longer exceptions: {outdated:?}");
    let misfits = misfits(&cases, &theirs);
    ensure!(
        misfits.is_empty(),
        "accepted, but not by configuration.schema.json:\n{}",
        misfits.join("\n")
    );
    Ok(())
}
