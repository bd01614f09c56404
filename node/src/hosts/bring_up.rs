//! Getting an agent to run on a host we are logged in to.

use super::binary::AgentBinary;
use super::failure::{HostError, tail};
use super::ssh::{Output, Session};
use dstack_deploy::agent::{self, Plan, Probe};
use std::collections::BTreeMap;
use std::time::Duration;

const LOOK: Duration = Duration::from_secs(30);
/// The binary over a slow link.
const UPLOAD: Duration = Duration::from_secs(600);
const START: Duration = Duration::from_secs(90);
const REMOVE: Duration = Duration::from_secs(60);

/// Looks, uploads the binary unless it is there, starts the agent unless it runs. May be repeated at any time.
/// Answers with the way taken, which knows the agent's socket.
pub async fn bring_up(
    session: &Session,
    binary: &AgentBinary,
    env: &BTreeMap<String, String>,
) -> Result<Plan, HostError> {
    let (probe, plan) = look(session, env).await?;
    let unsuitable = |cause| HostError::Unsuitable {
        at: session.at().clone(),
        cause,
    };
    let loaded = binary.load(&probe.arch).await?;
    probe.check(loaded.arch).map_err(unsuitable)?;
    if !probe
        .installed
        .iter()
        .any(|sum| sum == loaded.binary.short())
    {
        tracing::info!(host = %session.at(), bytes = loaded.bytes.len(), "uploading the agent");
        let placed = session
            .run(&agent::place(&plan, &loaded.binary), &loaded.bytes, UPLOAD)
            .await?;
        judge(session, "uploaded", &placed)?;
    }
    let environment = agent::env_file(env);
    let started = session
        .run(
            &agent::start(&plan, &loaded.binary),
            environment.as_bytes(),
            START,
        )
        .await?;
    judge(session, "started", &started)?;
    Ok(plan)
}

/// Where the agent's socket is, or will be, without changing anything.
pub async fn look(
    session: &Session,
    env: &BTreeMap<String, String>,
) -> Result<(Probe, Plan), HostError> {
    let said = session.run(&agent::probe(env), b"", LOOK).await?;
    let text = String::from_utf8_lossy(&said.stdout);
    let probe = Probe::parse(&text).map_err(|cause| HostError::Unsuitable {
        at: session.at().clone(),
        cause,
    })?;
    let plan = Plan::of(&probe);
    Ok((probe, plan))
}

/// Stops the agent and leaves the host clean.
pub async fn take_down(session: &Session, plan: &Plan) -> Result<(), HostError> {
    let removed = session.run(&agent::remove(plan), b"", REMOVE).await?;
    judge(session, "removed", &removed)
}

fn judge(session: &Session, step: &'static str, output: &Output) -> Result<(), HostError> {
    if output.status == Some(0) {
        return Ok(());
    }
    let at = session.at().clone();
    let said = match (tail(&output.stderr), output.status) {
        (said, _) if !said.is_empty() => said,
        (_, Some(status)) => format!("the command ended with status {status} and said nothing"),
        (_, None) => "the command was killed".into(),
    };
    let full = ["No space left on device", "Disk quota exceeded"]
        .iter()
        .any(|phrase| said.contains(phrase));
    Err(if full {
        HostError::NoSpace { at, said }
    } else {
        HostError::Bootstrap { at, step, said }
    })
}
