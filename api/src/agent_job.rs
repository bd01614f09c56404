//! Everything an agent needs to run one job, as JSON inside [`crate::agent::DesiredJob::spec_json`].
//!
//! It is JSON and not more protobuf because the agent keeps it in its ledger for the life of the
//! job: a record must be readable by a newer and by an older agent, and by a person. Fields that
//! an agent does not know are ignored; fields that a server does not send have the defaults here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The order. Secrets are not in it: they travel beside it and are never written to the ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobOrder {
    pub run_id: String,
    pub run_name: String,
    pub project: String,
    pub user_name: String,
    /// `<run>-<job>-<replica>`.
    pub job_name: String,
    pub submission_id: String,
    #[serde(default)]
    pub replica_num: u32,
    #[serde(default)]
    pub job_num: u32,
    #[serde(default)]
    pub node_rank: u32,
    /// The argument vector, ready to be executed.
    pub commands: Vec<String>,
    /// Fleet variables with the job's own laid over them. The runner puts the `DSTACK_*`
    /// variables below these, so that a user may override them.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub repo_id: Option<String>,
    /// `None`: the process runtime only (there is no image to pull).
    #[serde(default)]
    pub image_name: Option<String>,
    #[serde(default)]
    pub user: Option<OrderUser>,
    #[serde(default)]
    pub shell: Option<String>,
    #[serde(default)]
    pub home_dir: Option<String>,
    #[serde(default)]
    pub privileged: bool,
    #[serde(default)]
    pub working_dir: Option<String>,
    #[serde(default)]
    pub repo: Option<OrderRepo>,
    #[serde(default)]
    pub archives: Vec<OrderArchive>,
    /// The dirty part of a Git repository, as a patch.
    #[serde(default)]
    pub code_archive: Option<CodeArchive>,
    #[serde(default)]
    pub cluster: Cluster,
    /// The private key the nodes of one replica share, and its public half.
    #[serde(default)]
    pub replica_ssh_key: Option<SshKeyPair>,
    #[serde(default)]
    pub gpus: GpuSelection,
    /// Cores; `None` is the whole host.
    #[serde(default)]
    pub cpu_limit: Option<f64>,
    #[serde(default)]
    pub memory_limit_bytes: Option<u64>,
    #[serde(default)]
    pub shm_size_bytes: Option<u64>,
    #[serde(default)]
    pub network_mode: NetworkMode,
    /// Ports of the container that the user wants reached.
    #[serde(default)]
    pub app_ports: Vec<u16>,
    /// Folders of the host that appear in the container.
    #[serde(default)]
    pub mounts: Vec<OrderMount>,
    #[serde(default)]
    pub max_duration_s: Option<u64>,
    #[serde(default)]
    pub utilization_policy: Option<UtilizationPolicy>,
    /// Seconds between the polite stop and the kill, when the job itself hits `max_duration`.
    #[serde(default)]
    pub stop_duration_s: Option<u64>,
    #[serde(default)]
    pub log_quota_hour_bytes: Option<u64>,
    /// Public keys that may log in to the job.
    #[serde(default)]
    pub authorized_keys: Vec<String>,
    /// Those of them that may pass through the host to it.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// The user of the host through whom they pass; `None` is the agent's own.
    #[serde(default)]
    pub host_user: Option<String>,
}

/// The user a job runs as; all absent is the image's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderUser {
    #[serde(default)]
    pub uid: Option<u32>,
    #[serde(default)]
    pub gid: Option<u32>,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub groupname: Option<String>,
}

/// How much of its GPUs a job must use to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtilizationPolicy {
    /// Percent, of each GPU.
    pub min_gpu_utilization: u32,
    pub time_window_s: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRepo {
    /// `remote`, `local` or `virtual`.
    pub kind: String,
    #[serde(default)]
    pub clone_url: Option<String>,
    #[serde(default)]
    pub branch: Option<String>,
    #[serde(default)]
    pub hash: Option<String>,
    /// Where it goes in the job's file system.
    #[serde(default)]
    pub dir: Option<String>,
    #[serde(default)]
    pub if_exists: IfExists,
    #[serde(default)]
    pub config_name: Option<String>,
    #[serde(default)]
    pub config_email: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IfExists {
    #[default]
    Error,
    Skip,
}

/// A tar archive the job wants unpacked at `path`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderArchive {
    pub sha256: String,
    pub path: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeArchive {
    pub sha256: String,
}

/// Where a job stands among the nodes of its replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// By job number; empty strings where an address is not known.
    #[serde(default)]
    pub job_ips: Vec<String>,
    #[serde(default)]
    pub master_ip: String,
    /// GPUs of each job, by job number; nodes need not be alike.
    #[serde(default)]
    pub gpus_per_job: Vec<u32>,
    /// GPUs of this node's share.
    #[serde(default)]
    pub gpus_per_node: u32,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKeyPair {
    pub private: String,
    pub public: String,
}

impl std::fmt::Debug for SshKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshKeyPair")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// Which GPUs of the host the job gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuSelection {
    #[default]
    None,
    All,
    /// By the UUIDs of [`crate::agent::Gpu::uuid`].
    Some(Vec<String>),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    #[default]
    Host,
    Bridge,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMount {
    pub instance_path: String,
    pub path: String,
    /// Skipped without complaint when the folder is not on the host.
    #[serde(default)]
    pub optional: bool,
}

impl JobOrder {
    /// Reads an order; the message names the field that is wrong.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Writes the order.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_the_wire() {
        let order = JobOrder {
            run_name: "train".into(),
            commands: vec!["/bin/bash".into(), "-i".into(), "-c".into(), "true".into()],
            env: BTreeMap::from([("A".into(), "1".into())]),
            gpus: GpuSelection::Some(vec!["GPU-1".into()]),
            network_mode: NetworkMode::Bridge,
            ..JobOrder::default()
        };
        let text = order.to_json().unwrap();
        assert_eq!(JobOrder::from_json(&text).unwrap(), order);
    }

    #[test]
    fn an_older_or_newer_server_is_understood() {
        let text = r#"{"run_id":"r","run_name":"n","project":"p","user_name":"u","job_name":"n-0-0",
            "submission_id":"s","commands":["true"],"something_new":{"x":1}}"#;
        let order = JobOrder::from_json(text).unwrap();
        assert_eq!(order.gpus, GpuSelection::None);
        assert_eq!(order.network_mode, NetworkMode::Host);
        assert_eq!(order.cpu_limit, None);
    }

    #[test]
    fn a_private_key_is_never_printed() {
        let order = JobOrder {
            replica_ssh_key: Some(SshKeyPair {
                private: "PRIVATE-PART".into(),
                public: "ssh-ed25519 AAAA".into(),
            }),
            ..JobOrder::default()
        };
        assert!(!format!("{order:?}").contains("PRIVATE-PART"));
    }
}
