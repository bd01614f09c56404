//! `type: task`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::ports::PortMapping;
use super::profile::ProfileParams;
use super::resources::ResourcesSpec;
use super::run_common::{RunCommon, non_empty};
use super::shorthand::{bounded, schema_of_input, type_tag};

type_tag!(TaskTag, "task");

/// More nodes than any cluster has; keeps a typing error from becoming a million jobs.
pub const MOST_NODES: i64 = 10_000;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "TaskInput")]
pub struct TaskConfiguration {
    pub r#type: TaskTag,
    pub nodes: Option<u32>,
    pub groups: Option<Vec<NodeGroup>>,
    pub ports: Vec<PortMapping>,
    pub commands: Vec<String>,
    #[serde(flatten)]
    pub run: RunCommon,
    #[serde(flatten)]
    pub profile: ProfileParams,
}

schema_of_input!(TaskConfiguration: TaskInput);

super::flat::run_input!(TaskInput => TaskConfiguration {
    #[serde(default)]
    r#type: TaskTag,
    #[serde(default, deserialize_with = "bounded::optional::<_, _, 1, MOST_NODES>")]
    nodes: Option<u32>,
    #[serde(default, deserialize_with = "named_groups")]
    groups: Option<Vec<NodeGroup>>,
    #[serde(default)]
    ports: Vec<PortMapping>,
    #[serde(default)]
    commands: Vec<String>,
});

/// Nodes that share resources and commands. Never inherits the task's `resources`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeGroup {
    #[serde(default, deserialize_with = "super::names::group_name")]
    pub name: Option<String>,
    #[serde(
        default = "one",
        deserialize_with = "bounded::required::<_, _, 1, MOST_NODES>"
    )]
    pub nodes: u32,
    #[serde(default)]
    pub resources: ResourcesSpec,
    #[serde(default)]
    pub commands: Vec<String>,
    #[serde(default)]
    pub ports: Vec<PortMapping>,
}

fn one() -> u32 {
    1
}

/// A group without a name is called by its index, from the moment it is read.
fn named_groups<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<NodeGroup>>, D::Error> {
    let mut groups: Option<Vec<NodeGroup>> = non_empty(deserializer)?;
    for (index, group) in groups.iter_mut().flatten().enumerate() {
        group.name.get_or_insert_with(|| index.to_string());
    }
    Ok(groups)
}
