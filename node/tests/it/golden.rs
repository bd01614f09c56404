//! What other programs read of us, as it was reviewed. `UPDATE_GOLDEN=1` writes the files anew.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use dstack_domain::spec::configuration_schema;
use dstack_node::http::openapi;
use serde::Serialize;
use serde_json::Value;

fn golden(file: &str, document: &impl Serialize) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = serde_json::to_string_pretty(document)? + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text)?;
    }
    let reviewed = std::fs::read_to_string(&path).context(path.display().to_string())?;
    let mut pairs = reviewed.lines().zip(text.lines());
    let differs = pairs.find(|(old, new)| old != new);
    ensure!(
        reviewed == text,
        "{file} has changed, first at {differs:?}; UPDATE_GOLDEN=1 writes it anew"
    );
    Ok(())
}

#[test]
fn the_api_is_the_one_that_was_reviewed() -> Result<()> {
    golden("api/openapi.json", &openapi::document("0.22.5"))
}

#[test]
fn the_schema_of_configurations_is_the_one_that_was_reviewed() -> Result<()> {
    golden("domain/configuration.schema.json", &configuration_schema())
}

#[test]
fn every_reference_leads_somewhere() -> Result<()> {
    let text = serde_json::to_string(&openapi::document("0.22.5"))?;
    let document: Value = serde_json::from_str(&text)?;
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap_or_default();
        ensure!(document.pointer(pointer).is_some(), "{pointer}");
    }
    Ok(())
}
