//! The `ssh` that holds the way open.

use super::places::Places;
use crate::failure::{Failure, Outcome};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);

/// Opens it; when this returns, the ports answer. It closes when dropped.
pub async fn open(
    places: &Places,
    alias: &str,
    bind: &str,
    ports: &[(u16, u16)],
) -> Outcome<Child> {
    let control = places.control(alias);
    let log = std::fs::File::create(places.log(alias)).map_err(|error| {
        Failure::refused(format!(
            "cannot write {}: {error}",
            places.log(alias).display()
        ))
    })?;
    let mut command = Command::new("ssh");
    command
        .arg("-F")
        .arg(places.config())
        .arg("-N")
        .args(["-o", "ControlMaster=auto", "-o", "ExitOnForwardFailure=yes"])
        .args([
            "-o",
            "ServerAliveInterval=15",
            "-o",
            "ServerAliveCountMax=4",
        ])
        .arg("-S")
        .arg(&control);
    for (local, remote) in ports {
        command.args(["-L", &format!("{bind}:{local}:localhost:{remote}")]);
    }
    // Whatever user the job runs as: its SSH server lets root in, as upstream's client expects.
    command.arg(format!("root@{alias}"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Failure::with_hint(
                format!("ssh cannot be started: {error}"),
                "Install OpenSSH's client (Debian: apt-get install openssh-client)",
            )
        })?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let ended = child.try_wait().ok().flatten().is_some();
        if ended || tokio::time::Instant::now() > deadline {
            let said = std::fs::read_to_string(places.log(alias)).unwrap_or_default();
            let last = said.lines().last().unwrap_or("it did not answer in time");
            return Err(Failure::refused(format!("ssh to {alias}: {last}")));
        }
        if stands(places, alias).await {
            return Ok(child);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn stands(places: &Places, alias: &str) -> bool {
    let mut check = Command::new("ssh");
    check
        .arg("-F")
        .arg(places.config())
        .arg("-S")
        .arg(places.control(alias))
        .args(["-O", "check", alias])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    check.status().await.is_ok_and(|status| status.success())
}
