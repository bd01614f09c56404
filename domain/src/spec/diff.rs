//! What differs between two specs, and whether a running thing can take the change without being replaced.

use serde::Serialize;
use serde_json::Value;

use super::configuration::{ConfigurationType, RunConfiguration};
use super::effective::effective_run;
use super::fleet::{FleetSpec, ResolvedHost};
use super::gateway::GatewaySpec;
use super::run_spec::RunSpec;
use super::service::{ReplicaGroup, RouterType};

#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Such as `configuration.resources.gpu.count.min`.
    pub path: String,
    pub old: Value,
    pub new: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    Unchanged,
    /// Everything that differs can be changed in place.
    InPlace(Vec<Change>),
    /// These differences cannot.
    Impossible(Vec<Change>),
}

impl Update {
    /// The `action` of a plan: a spec without differences counts as an update too.
    pub fn is_possible(&self) -> bool {
        !matches!(self, Self::Impossible(_))
    }
}

/// Leaves of mappings are compared one by one, lists as a whole.
fn compare(path: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, old) in before {
                compare(
                    &join(path, key),
                    old,
                    after.get(key).unwrap_or(&Value::Null),
                    changes,
                );
            }
            for (key, new) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                compare(&join(path, key), &Value::Null, new, changes);
            }
        }
        _ if old == new => {}
        _ => changes.push(Change {
            path: path.to_owned(),
            old: old.clone(),
            new: new.clone(),
        }),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn differences(old: &impl Serialize, new: &impl Serialize) -> Vec<Change> {
    let value = |result: Result<Value, serde_json::Error>| result.unwrap_or(Value::Null);
    let mut changes = Vec::new();
    compare(
        "",
        &value(serde_json::to_value(old)),
        &value(serde_json::to_value(new)),
        &mut changes,
    );
    changes
}

/// Whether `path` is `root` or lies under it.
fn under(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn judge(changes: Vec<Change>, updatable: impl Fn(&Change) -> bool) -> Update {
    if changes.is_empty() {
        return Update::Unchanged;
    }
    let stuck: Vec<Change> = changes
        .iter()
        .filter(|change| !updatable(change))
        .cloned()
        .collect();
    if stuck.is_empty() {
        Update::InPlace(changes)
    } else {
        Update::Impossible(stuck)
    }
}

const SERVICE_SPEC_KEYS: [&str; 4] = [
    "repo_data",
    "repo_code_hash",
    "file_archives",
    "working_dir",
];
/// Of services: those after `gateway` take a rolling redeployment.
const SERVICE_KEYS: [&str; 23] = [
    "replicas",
    "groups",
    "scaling",
    "gateway",
    "port",
    "probes",
    "resources",
    "volumes",
    "docker",
    "files",
    "image",
    "user",
    "privileged",
    "entrypoint",
    "working_dir",
    "python",
    "nvcc",
    "single_branch",
    "env",
    "shell",
    "commands",
    "priority",
    "https",
];
const SERVICE_KEYS_WITHOUT_REDEPLOY: [&str; 5] =
    ["replicas", "groups", "scaling", "gateway", "priority"];

/// The differences between two runs of the same name, after filling in what both leave open.
pub fn run_changes(old: &RunSpec, new: &RunSpec) -> Vec<Change> {
    let old = effective_run(old, None);
    let new = effective_run(new, old.ssh_key_pub.as_deref());
    let mut changes = differences(&old, &new);
    changes.retain(|change| {
        let same_run = matches!(change.path.as_str(), "run_name" | "configuration.name");
        let https = change.path == "configuration.https"
            && is_true_or_null(&change.old)
            && is_true_or_null(&change.new);
        // The server pins the architecture itself; a spec that says nothing agrees with it.
        let arch = change.path.ends_with("resources.cpu.arch") && change.new.is_null();
        !(same_run || https || arch)
    });
    changes
}

fn is_true_or_null(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(true))
}

pub fn run_update(old: &RunSpec, new: &RunSpec) -> Update {
    let kind = new.configuration.kind();
    if old.configuration.kind() != kind {
        let text = |kind: ConfigurationType| Value::String(kind.as_str().to_owned());
        let change = Change {
            path: "configuration.type".to_owned(),
            old: text(old.configuration.kind()),
            new: text(kind),
        };
        return Update::Impossible(vec![change]);
    }
    if let (RunConfiguration::Service(old), RunConfiguration::Service(new)) =
        (&old.configuration, &new.configuration)
        && let Some(change) = router_change(old.groups.as_deref(), new.groups.as_deref())
    {
        return Update::Impossible(vec![change]);
    }
    judge(run_changes(old, new), |change| {
        run_key_is_updatable(kind, &change.path)
    })
}

fn run_key_is_updatable(kind: ConfigurationType, path: &str) -> bool {
    let Some(key) = path.strip_prefix("configuration.") else {
        let service = kind == ConfigurationType::Service
            && SERVICE_SPEC_KEYS.iter().any(|key| under(path, key));
        return path == "configuration_path" || service;
    };
    let keys: &[&str] = match kind {
        ConfigurationType::Service => &SERVICE_KEYS,
        ConfigurationType::DevEnvironment => &["priority", "inactivity_duration"],
        _ => &["priority"],
    };
    keys.iter().any(|updatable| under(key, updatable))
}

/// Whether a change reaches replicas only by replacing them one after another.
pub fn needs_redeploy(changes: &[Change]) -> bool {
    changes
        .iter()
        .any(|change| match change.path.strip_prefix("configuration.") {
            Some(key) => !SERVICE_KEYS_WITHOUT_REDEPLOY
                .iter()
                .any(|free| under(key, free)),
            None => SERVICE_SPEC_KEYS.iter().any(|key| under(&change.path, key)),
        })
}

/// A router knows its workers from its start, so it cannot come, go or change under them.
fn router_change(old: Option<&[ReplicaGroup]>, new: Option<&[ReplicaGroup]>) -> Option<Change> {
    let router = |groups: Option<&[ReplicaGroup]>| {
        let groups = groups.unwrap_or_default();
        groups
            .iter()
            .enumerate()
            .find(|(_, group)| group.router.is_some())
            .map(|(index, group)| (index, group.clone()))
    };
    let (old, new) = (router(old), router(new));
    let same = match (&old, &new) {
        (None, None) => true,
        (Some((at, old)), Some((index, new))) => {
            let dynamo = old
                .router
                .is_some_and(|router| router.r#type == RouterType::Dynamo);
            at == index
                && old.name == new.name
                && old.router == new.router
                && (!dynamo || old == new)
        }
        _ => false,
    };
    let shown = |router: Option<(usize, ReplicaGroup)>| {
        router
            .and_then(|(_, group)| serde_json::to_value(group).ok())
            .unwrap_or(Value::Null)
    };
    (!same).then(|| Change {
        path: "configuration.groups".to_owned(),
        old: shown(old),
        new: shown(new),
    })
}

const FLEET_KEYS: [&str; 10] = [
    "nodes",
    "reservation",
    "tags",
    "resources",
    "backends",
    "regions",
    "availability_zones",
    "instance_types",
    "spot_policy",
    "max_price",
];

/// Keys are left out on both sides: stored specs have none.
pub fn fleet_changes(old: &FleetSpec, new: &FleetSpec) -> Vec<Change> {
    let mut changes = differences(&old.without_keys(), &new.without_keys());
    changes.retain(|change| {
        !matches!(
            change.path.as_str(),
            "configuration.name"
                | "configuration_path"
                | "autocreated"
                | "profile.name"
                | "profile.default"
        )
    });
    changes
}

pub fn fleet_update(old: &FleetSpec, new: &FleetSpec) -> Update {
    let ssh = old.configuration.ssh_config.is_some();
    let same_kind = ssh == new.configuration.ssh_config.is_some();
    // A host that stays must stay as it is: nobody would reconnect to it with its new parameters.
    let hosts = host_changes(old, new);
    let address = |host: &ResolvedHost| (host.hostname.clone(), host.port);
    let altered = hosts.added.iter().any(|host| {
        hosts
            .removed
            .iter()
            .any(|other| address(host) == address(other))
    });
    judge(fleet_changes(old, new), |change| {
        let Some(key) = change.path.strip_prefix("configuration.") else {
            return false;
        };
        let keys: &[&str] = if ssh {
            &["ssh_config.hosts"]
        } else {
            &FLEET_KEYS
        };
        same_kind && !altered && keys.iter().any(|updatable| under(key, updatable))
    })
}

/// Which hosts an in-place update adds and removes. Where a key file lies on the client does not matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostChanges {
    pub added: Vec<ResolvedHost>,
    pub removed: Vec<ResolvedHost>,
}

pub fn host_changes(old: &FleetSpec, new: &FleetSpec) -> HostChanges {
    let hosts = |spec: &FleetSpec| {
        let blocks = spec.configuration.blocks;
        spec.configuration
            .ssh_config
            .as_ref()
            .map(|params| params.resolved_hosts(blocks))
            .unwrap_or_default()
    };
    let bare = |host: &ResolvedHost| {
        let mut host = host.clone();
        host.ssh_key = None;
        host.identity_file = None;
        if let Some(proxy) = &mut host.proxy_jump {
            proxy.ssh_key = None;
            proxy.identity_file.clear();
        }
        host
    };
    let (old, new) = (hosts(old), hosts(new));
    let missing_from = |list: &[ResolvedHost], other: &[ResolvedHost]| -> Vec<ResolvedHost> {
        let other: Vec<_> = other.iter().map(bare).collect();
        list.iter()
            .filter(|host| !other.contains(&bare(host)))
            .cloned()
            .collect()
    };
    HostChanges {
        added: missing_from(&new, &old),
        removed: missing_from(&old, &new),
    }
}

pub fn gateway_update(old: &GatewaySpec, new: &GatewaySpec) -> Update {
    let mut changes = differences(old, new);
    changes.retain(|change| {
        !matches!(
            change.path.as_str(),
            "configuration.name" | "configuration_path"
        )
    });
    judge(changes, |change| {
        matches!(
            change.path.as_str(),
            "configuration.domain" | "configuration.default" | "configuration.replicas"
        )
    })
}
