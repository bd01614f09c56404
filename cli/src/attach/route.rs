//! Over which hosts a job is reached.

use crate::failure::{Failure, Outcome};
use dstack_api::http::jobs::{Job, JobSubmission};
use std::fmt;
use std::path::Path;

/// Where clients expect the job's SSH server.
const SSH_PORT: u16 = 10022;

/// One `Host` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub host: String,
    name: String,
    port: u16,
    user: String,
    identity: Option<String>,
    jump: Option<String>,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Host {}", self.host)?;
        writeln!(f, "    HostName {}", self.name)?;
        writeln!(f, "    Port {}", self.port)?;
        writeln!(f, "    User {}", self.user)?;
        if let Some(identity) = &self.identity {
            writeln!(f, "    IdentityFile {identity}")?;
            writeln!(f, "    IdentitiesOnly yes")?;
        }
        // The job's key is made with it, and its address serves another one tomorrow.
        writeln!(f, "    StrictHostKeyChecking no")?;
        writeln!(f, "    UserKnownHostsFile /dev/null")?;
        writeln!(f, "    LogLevel ERROR")?;
        match &self.jump {
            Some(jump) => writeln!(f, "    ProxyJump {jump}"),
            None => Ok(()),
        }
    }
}

/// The name in ssh's configuration: of the first job the run's own.
pub fn alias(run: &str, job: &Job) -> String {
    if (job.job_spec.replica_num, job.job_spec.job_num) == (0, 0) {
        run.to_owned()
    } else {
        job.job_spec.job_name.clone()
    }
}

/// The blocks, the job's own last.
pub fn blocks(
    alias: &str,
    job: &Job,
    submission: &JobSubmission,
    identity: &Path,
) -> Outcome<Vec<Block>> {
    let unknown = || Failure::refused("the server does not say where the job is");
    let place = submission
        .job_provisioning_data
        .as_ref()
        .ok_or_else(unknown)?;
    let runtime = submission.job_runtime_data.as_ref();
    let identity = Some(identity.display().to_string());
    let inside = runtime.and_then(|runtime| runtime.ports.as_ref()?.get(&SSH_PORT).copied());
    let user = runtime
        .and_then(|runtime| runtime.username.clone())
        .or_else(|| job.job_spec.user.as_ref()?.username.clone())
        .unwrap_or_else(|| "root".to_owned());
    let name = place
        .hostname
        .clone()
        .filter(|name| !name.is_empty())
        .ok_or_else(unknown)?;
    let port = place.ssh_port.ok_or_else(unknown)?;
    let jump_alias = format!("{alias}-jump-host");
    let mut blocks = Vec::new();
    if let Some(proxy) = &place.ssh_proxy {
        blocks.push(Block {
            host: jump_alias.clone(),
            name: proxy.hostname.clone(),
            port: proxy.port,
            user: proxy.username.clone(),
            // The key of a jump host is the user's business; upstream has none for it either.
            identity: identity.clone().filter(|_| !place.dockerized),
            jump: None,
        });
    }
    let first = place.ssh_proxy.is_some().then_some(jump_alias);
    if !place.dockerized {
        blocks.push(Block {
            host: alias.to_owned(),
            name,
            port,
            user,
            identity,
            jump: first,
        });
        return Ok(blocks);
    }
    let host = format!("{alias}-host");
    blocks.push(Block {
        host: host.clone(),
        name,
        port,
        user: place.username.clone(),
        identity: identity.clone(),
        jump: first,
    });
    blocks.push(Block {
        host: alias.to_owned(),
        name: "localhost".to_owned(),
        port: inside.unwrap_or(SSH_PORT),
        user,
        identity,
        jump: Some(host),
    });
    Ok(blocks)
}
