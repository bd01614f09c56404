//! Which crate may use which, and behind which door each third party lives.

use std::collections::BTreeMap;
use std::process::Command;

/// The arrows of the house.
const ARROWS: [(&str, &[&str]); 12] = [
    // The other side of a backend knows nothing of us.
    ("crusoe-sim", &[]),
    ("domain", &[]),
    ("storage", &[]),
    ("api", &["domain"]),
    ("backends", &["domain"]),
    ("deploy", &["domain"]),
    ("raft", &["storage"]),
    ("agent", &["api", "domain"]),
    ("cli", &["api", "domain", "deploy"]),
    (
        "node",
        &["api", "backends", "deploy", "domain", "raft", "storage"],
    ),
    ("chaos", &["api", "domain"]),
    (
        "tests",
        &[
            "agent", "api", "backends", "chaos", "cli", "deploy", "domain", "node", "raft",
            "storage",
        ],
    ),
];

/// Third parties that live in the named crates only.
const DOORS: [(&str, &[&str]); 9] = [
    ("openraft", &["raft"]),
    ("rocksdb", &["storage"]),
    ("bollard", &["agent"]),
    ("russh", &["node", "agent"]),
    ("aide", &["node"]),
    ("axum", &["crusoe-sim", "node"]),
    ("clap", &["agent", "chaos", "cli", "crusoe-sim", "node"]),
    ("comfy-table", &["cli"]),
    ("tonic", &["agent", "api", "node", "raft"]),
];

/// What the pure core may stand on.
const DOMAIN_MAY_USE: [&str; 15] = [
    "croner",
    "hex",
    "imbl",
    "jiff",
    "postcard",
    "regex",
    "schemars",
    "serde",
    "serde-saphyr",
    "serde_json",
    "serde_path_to_error",
    "sha2",
    "shell-words",
    "thiserror",
    "uuid",
];

/// Crate (without our prefix) to its direct dependencies, those for tests only left out.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(super::root())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata speaks JSON");
    let mut all = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches("dstack-")
            .to_owned();
        let mut uses: Vec<String> = Vec::new();
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            if dependency["kind"].as_str() != Some("dev") {
                uses.push(dependency["name"].as_str().unwrap_or_default().to_owned());
            }
        }
        uses.sort();
        uses.dedup();
        all.insert(name, uses);
    }
    all
}

#[test]
fn crates_use_each_other_only_as_drawn() {
    let drawn: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut astray = Vec::new();
    for (name, uses) in dependencies() {
        for used in uses.iter().filter_map(|name| name.strip_prefix("dstack-")) {
            if !drawn
                .get(name.as_str())
                .is_some_and(|may| may.contains(&used))
            {
                astray.push(format!("{name} -> {used}"));
            }
        }
    }
    assert!(astray.is_empty(), "arrows that nobody drew: {astray:?}");
}

#[test]
fn third_parties_stay_behind_their_doors() {
    let mut strays = Vec::new();
    for (name, uses) in dependencies() {
        for (party, rooms) in DOORS {
            if uses.iter().any(|used| used == party) && !rooms.contains(&name.as_str()) {
                strays.push(format!("{party} is used in {name}, it lives in {rooms:?}"));
            }
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

#[test]
fn the_core_stays_pure() {
    let all = dependencies();
    let strangers: Vec<&String> = all["domain"]
        .iter()
        .filter(|used| !DOMAIN_MAY_USE.contains(&used.as_str()))
        .collect();
    assert!(strangers.is_empty(), "domain uses {strangers:?}");
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            "dstack-domain",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(super::root())
        .output()
        .expect("cargo tree runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.contains("imbl"), "the tree was read");
    for heavy in ["tokio ", "rocksdb ", "hyper ", "rand "] {
        assert!(
            !tree.lines().any(|line| line.starts_with(heavy)),
            "{heavy}is in the tree of domain"
        );
    }
}
