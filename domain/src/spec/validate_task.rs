//! Rules between the keys of a task.

use super::interpolate::Reference;
use super::spec_error::SpecError;
use super::task::{MOST_NODES, NodeGroup, TaskConfiguration};
use super::validate::{Checked, commands, ports, refuse, resources, unique_names};

pub(crate) fn task(configuration: &TaskConfiguration) -> Checked {
    if let Some(groups) = &configuration.groups {
        return node_groups(configuration, groups);
    }
    if configuration.commands.is_empty() && configuration.run.image.is_none() {
        let error = SpecError::new(
            "commands",
            "a task needs `commands`, or an `image` that brings its own",
        );
        return Err(error.with_hint("add `commands:` with one line per command, each after `- `"));
    }
    ports("ports", &configuration.ports)?;
    commands("commands", &configuration.commands, |_| false)
}

fn node_groups(configuration: &TaskConfiguration, groups: &[NodeGroup]) -> Checked {
    let beside = [
        ("nodes", configuration.nodes.is_some()),
        ("commands", !configuration.commands.is_empty()),
        ("ports", !configuration.ports.is_empty()),
        ("entrypoint", configuration.run.entrypoint.is_some()),
    ];
    if let Some((key, _)) = beside.into_iter().find(|(_, given)| *given) {
        return Err(
            SpecError::new(key, format!("`{key}` cannot stand beside `groups`"))
                .with_hint("put it into each group"),
        );
    }
    let total: i64 = groups.iter().map(|group| i64::from(group.nodes)).sum();
    if total > MOST_NODES {
        return refuse(
            "groups",
            format!("{total} nodes are more than a task can have ({MOST_NODES})"),
        );
    }
    unique_names(groups.iter().map(|group| group.name.as_deref()))?;
    for (index, group) in groups.iter().enumerate() {
        let path = format!("groups[{index}]");
        if group.commands.is_empty() && configuration.run.image.is_none() {
            return refuse(
                path,
                "each group needs `commands`, or the task an `image` that brings its own",
            );
        }
        ports(&format!("{path}.ports"), &group.ports)?;
        let docker = configuration.run.docker == Some(true);
        resources(
            &format!("{path}.resources"),
            &group.resources,
            configuration.run.image.is_some(),
            docker,
        )?;
        let exists = |reference: &Reference| match reference {
            Reference::NodeAddress { group, node } => groups
                .get(*group)
                .is_some_and(|group| *node < group.nodes as usize),
            _ => false,
        };
        commands(&format!("{path}.commands"), &group.commands, exists)?;
    }
    Ok(())
}
