//! From a desired job to the order an agent gets. Secrets are opened here, at the moment of sending, and travel
//! beside the order, because the agent writes the order to its disk.

use crate::sealing::Sealer;
use dstack_api::agent::{self, Phase};
use dstack_api::agent_job::{
    Cluster, CodeArchive, GpuSelection, IfExists, JobOrder, NetworkMode, OrderArchive, OrderMount,
    OrderRepo, OrderUser, SshKeyPair, UtilizationPolicy,
};
use dstack_domain::decide::{DesiredJob, DesiredPhase};
use dstack_domain::model::{self, GpuShare, Sealed};
use dstack_domain::spec::interpolate::{Reference, Stage, interpolate};
use dstack_domain::spec::{JobSpec, MountPoint, RepoExistsAction, RunRepoData};
use dstack_domain::state::State;
use std::collections::BTreeMap;

/// The order, or why there can be none, for the user to read.
pub fn order(
    state: &State,
    sealer: &Sealer,
    desired: &DesiredJob,
) -> Result<agent::DesiredJob, String> {
    let secrets = Secrets {
        state,
        sealer,
        project: &desired.project_name,
    };
    let (mut env, mut secret_env) = (desired.fleet_env.clone(), BTreeMap::new());
    for (name, text) in &desired.job.env {
        match secrets
            .resolve(text)
            .map_err(|why| format!("the variable {name} cannot be set: {why}"))?
        {
            Resolved::Open(value) => env.insert(name.clone(), value),
            Resolved::Secret(value) => {
                // Whatever the fleet says about it lies below.
                env.remove(name);
                secret_env.insert(name.clone(), value)
            }
        };
    }
    let registry_auth = match &desired.job.registry_auth {
        None => None,
        Some(auth) => {
            let part = |text| secrets.resolve(text).map(Resolved::value);
            let refused =
                |why| format!("the credentials of the image registry cannot be used: {why}");
            Some(agent::RegistryAuth {
                username: part(&auth.username).map_err(refused)?,
                password: part(&auth.password).map_err(refused)?,
            })
        }
    };
    let order = JobOrder {
        env,
        ..plain(desired, sealer)?
    };
    let (phase, grace_s) = phase(desired.phase);
    Ok(agent::DesiredJob {
        submission_id: desired.submission.to_string(),
        spec_json: order
            .to_json()
            .map_err(|error| format!("the order cannot be written: {error}"))?,
        phase: phase.into(),
        grace_s,
        secret_env: secret_env.into_iter().collect(),
        registry_auth,
        repo_creds: repo_creds(desired, sealer)?,
    })
}

/// For a job that its agent already has: only what it is to do with it.
pub fn reminder(desired: &DesiredJob) -> agent::DesiredJob {
    let (phase, grace_s) = phase(desired.phase);
    agent::DesiredJob {
        submission_id: desired.submission.to_string(),
        phase: phase.into(),
        grace_s,
        ..agent::DesiredJob::default()
    }
}

fn phase(phase: DesiredPhase) -> (Phase, u32) {
    match phase {
        DesiredPhase::Run => (Phase::Run, 0),
        DesiredPhase::Stop { grace_s } => (Phase::Stop, grace_s),
        DesiredPhase::Kill => (Phase::Kill, 0),
    }
}

enum Resolved {
    Open(String),
    Secret(String),
}

impl Resolved {
    fn value(self) -> String {
        match self {
            Self::Open(value) | Self::Secret(value) => value,
        }
    }
}

struct Secrets<'a> {
    state: &'a State,
    sealer: &'a Sealer,
    project: &'a str,
}

impl Secrets<'_> {
    fn resolve(&self, text: &str) -> Result<Resolved, String> {
        let mut secret = false;
        let value = interpolate(text, Stage::Last, |reference| match reference {
            Reference::Secret(name) => {
                secret = true;
                self.secret(name).map(Some)
            }
            _ => Ok(None),
        })?;
        Ok(if secret {
            Resolved::Secret(value)
        } else {
            Resolved::Open(value)
        })
    }

    fn secret(&self, name: &str) -> Result<String, String> {
        let project = self.state.project_by_name(self.project);
        let found = project.and_then(|project| self.state.secret(project.id, name));
        let secret = found.ok_or_else(|| {
            format!("the project has no secret {name:?}; set it with `dstack secret set {name}`")
        })?;
        open(self.sealer, &secret.value)
    }
}

fn open(sealer: &Sealer, sealed: &Sealed) -> Result<String, String> {
    sealer.open(sealed).map_err(|error| error.to_string())
}

/// Everything but the environment.
fn plain(desired: &DesiredJob, sealer: &Sealer) -> Result<JobOrder, String> {
    let job = &*desired.job;
    Ok(JobOrder {
        run_id: desired.run_id.to_string(),
        run_name: desired.run_name.clone(),
        project: desired.project_name.clone(),
        user_name: desired.user_name.clone(),
        job_name: job.job_name.clone(),
        submission_id: desired.submission.to_string(),
        replica_num: job.replica_num,
        job_num: job.job_num,
        node_rank: job.job_num,
        commands: job.commands.clone(),
        env: BTreeMap::new(),
        repo_id: Some(desired.repo_id.clone()),
        image_name: Some(job.image_name.clone()).filter(|image| !image.is_empty()),
        user: user(job),
        shell: None,
        home_dir: job.home_dir.clone(),
        privileged: job.privileged,
        working_dir: job.working_dir.clone(),
        repo: repo(desired, sealer)?,
        archives: desired
            .archives
            .iter()
            .map(|archive| OrderArchive {
                sha256: archive.sha256.clone(),
                path: archive.path.clone(),
            })
            .collect(),
        code_archive: job
            .repo_code_hash
            .clone()
            .map(|sha256| CodeArchive { sha256 }),
        cluster: Cluster {
            job_ips: desired.cluster.job_ips.clone(),
            master_ip: desired.cluster.master_ip.clone(),
            gpus_per_job: desired.cluster.gpus_per_job.clone(),
            gpus_per_node: desired.gpu_count,
        },
        replica_ssh_key: cluster_key(desired, sealer)?,
        gpus: gpus(&desired.gpus),
        cpu_limit: desired.cpu_limit,
        memory_limit_bytes: desired.memory_limit_mib.map(|mib| mib << 20),
        shm_size_bytes: job
            .requirements
            .resources
            .shm_size
            .map(|size| size.as_mib() << 20),
        network_mode: match desired.network_mode {
            model::NetworkMode::Host => NetworkMode::Host,
            model::NetworkMode::Bridge => NetworkMode::Bridge,
        },
        app_ports: job.app_specs.iter().map(|app| app.port).collect(),
        mounts: mounts(job),
        max_duration_s: job.max_duration,
        utilization_policy: utilization(job),
        stop_duration_s: job.stop_duration,
        log_quota_hour_bytes: Some(desired.log_quota_hour_bytes).filter(|quota| *quota > 0),
        authorized_keys: desired.authorized_keys.clone(),
        host_keys: desired.host_keys.clone(),
        host_user: desired.host_user.clone(),
    })
}

fn user(job: &JobSpec) -> Option<OrderUser> {
    job.user.as_ref().map(|user| OrderUser {
        uid: user.uid,
        gid: user.gid,
        username: user.username.clone(),
        groupname: user.groupname.clone(),
    })
}

fn cluster_key(desired: &DesiredJob, sealer: &Sealer) -> Result<Option<SshKeyPair>, String> {
    let Some(key) = &desired.cluster_key else {
        return Ok(None);
    };
    Ok(Some(SshKeyPair {
        private: open(sealer, &key.private)?,
        public: key.public.clone(),
    }))
}

fn gpus(share: &GpuShare) -> GpuSelection {
    match share {
        GpuShare::All => GpuSelection::All,
        GpuShare::None => GpuSelection::None,
        GpuShare::Some(uuids) => GpuSelection::Some(uuids.clone()),
    }
}

fn utilization(job: &JobSpec) -> Option<UtilizationPolicy> {
    job.utilization_policy
        .as_ref()
        .map(|policy| UtilizationPolicy {
            min_gpu_utilization: policy.min_gpu_utilization.into(),
            time_window_s: policy.time_window.as_secs(),
        })
}

fn mounts(job: &JobSpec) -> Vec<OrderMount> {
    let all = job.volumes.iter().flatten();
    all.filter_map(|mount| match mount {
        MountPoint::Instance {
            instance_path,
            path,
            optional,
        } => Some(OrderMount {
            instance_path: instance_path.clone(),
            path: path.clone(),
            optional: *optional,
        }),
        // Network volumes do not exist on hosts of one's own.
        MountPoint::Volume { .. } => None,
    })
    .collect()
}

fn repo(desired: &DesiredJob, sealer: &Sealer) -> Result<Option<OrderRepo>, String> {
    let job = &*desired.job;
    let common = OrderRepo {
        dir: Some(job.repo_dir.clone()),
        if_exists: match job.repo_exists_action {
            Some(RepoExistsAction::Skip) => IfExists::Skip,
            _ => IfExists::Error,
        },
        ..OrderRepo::default()
    };
    Ok(match &job.repo_data {
        None | Some(RunRepoData::Virtual) => None,
        Some(RunRepoData::Local { .. }) => Some(OrderRepo {
            kind: "local".into(),
            ..common
        }),
        Some(RunRepoData::Remote {
            repo_branch,
            repo_hash,
            repo_config_name,
            repo_config_email,
            ..
        }) => {
            let creds = desired
                .repo_creds
                .as_ref()
                .map(|creds| open(sealer, creds))
                .transpose()?;
            Some(OrderRepo {
                kind: "remote".into(),
                clone_url: creds.as_deref().and_then(clone_url),
                branch: repo_branch.clone(),
                hash: repo_hash.clone(),
                config_name: repo_config_name.clone(),
                config_email: repo_config_email.clone(),
                ..common
            })
        }
    })
}

/// From upstream's `RemoteRepoCreds`.
fn clone_url(creds: &str) -> Option<String> {
    text_of(creds, "clone_url")
}

/// What opens the repository travels beside the order: the order lies on the host's disk.
fn repo_creds(desired: &DesiredJob, sealer: &Sealer) -> Result<Option<agent::RepoCreds>, String> {
    let is_remote = matches!(desired.job.repo_data, Some(RunRepoData::Remote { .. }));
    let Some(creds) = desired.repo_creds.as_ref().filter(|_| is_remote) else {
        return Ok(None);
    };
    let creds = open(sealer, creds)?;
    let part = |name| text_of(&creds, name).unwrap_or_default();
    let found = agent::RepoCreds {
        oauth_token: part("oauth_token"),
        private_key: part("private_key"),
    };
    Ok(Some(found).filter(|found| *found != agent::RepoCreds::default()))
}

fn text_of(creds: &str, name: &str) -> Option<String> {
    let creds: serde_json::Value = serde_json::from_str(creds).ok()?;
    creds.get(name)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_repository_holds_no_secret() {
        let creds =
            r#"{"clone_url":"https://github.com/a/b.git","oauth_token":"t0","private_key":null}"#;
        assert_eq!(
            clone_url(creds).as_deref(),
            Some("https://github.com/a/b.git")
        );
        assert_eq!(text_of(creds, "oauth_token").as_deref(), Some("t0"));
        assert_eq!(text_of(creds, "private_key"), None);
        assert_eq!(clone_url("not json"), None);
    }
}
