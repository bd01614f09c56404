//! What a configuration file may look like, as JSON schema: for editors, and for the API's description.

use super::configuration::AnyConfiguration;

/// JSON Schema (2020-12) of a YAML file of any type. Rules that join two keys are not in it.
pub fn configuration_schema() -> serde_json::Value {
    schemars::schema_for!(AnyConfiguration).to_value()
}
