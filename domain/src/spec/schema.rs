//! What a configuration file may look like, as JSON schema: for editors, and for the API's description.

use super::configuration::AnyConfiguration;

/// JSON Schema (2020-12) of a YAML file of any type. Rules that join two keys are not in it.
pub fn configuration_schema() -> serde_json::Value {
    schemars::schema_for!(AnyConfiguration).to_value()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// `UPDATE_GOLDEN=1` writes it anew.
    #[test]
    fn the_schema_is_the_one_that_was_reviewed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configuration.schema.json");
        let mut text = serde_json::to_string_pretty(&super::configuration_schema()).unwrap();
        text.push('\n');
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let reviewed = std::fs::read_to_string(&path).unwrap();
        let differs = reviewed
            .lines()
            .zip(text.lines())
            .find(|(old, new)| old != new);
        assert!(
            reviewed == text,
            "the schema has changed, first at {differs:?}; UPDATE_GOLDEN=1 writes it anew"
        );
    }
}
