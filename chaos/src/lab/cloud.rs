//! The simulated cloud, as a process of its own, with real machines in it.

use super::process::Process;
use super::{Binaries, Cli};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A running cloud. Dropped, it is killed, and its machines with it.
#[derive(Debug)]
pub struct Cloud {
    process: Process,
    endpoint: String,
    access_key: String,
    secret_key: String,
    calls: u32,
}

/// What the cloud says when it is stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct LastWords {
    /// Machines that ever came to be.
    pub made: u64,
    /// Machines, disks and partitions that are there still.
    pub left: [u64; 3],
    /// Dollars, as it prints them.
    pub bill: String,
}

/// What there is in the cloud, by name, whether a list shows it yet or not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Truth {
    /// Every kind of thing that costs money or is in the way.
    pub machines: Vec<String>,
    /// Data disks.
    pub disks: Vec<String>,
    /// InfiniBand partitions.
    pub partitions: Vec<String>,
    /// How many machines were ever made under a name.
    pub made: BTreeMap<String, u32>,
    /// Calls that were answered.
    pub calls: u64,
    /// Calls that were turned away because there were too many.
    pub too_many: u64,
}

impl Truth {
    /// Whether the account is empty.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.disks.is_empty() && self.partitions.is_empty()
    }
}

impl Cloud {
    /// Starts it with real machines below `folder`; `extra` are arguments of its own. Needs root.
    pub async fn with_machines(folder: &Path, binaries: &Binaries, extra: &[&str]) -> Result<Self> {
        let machines = folder.join("machines");
        std::fs::create_dir_all(&machines).context("a folder for machines")?;
        let place = machines.display().to_string();
        let extra = [&["--machines", &place], extra].concat();
        Self::start(folder, binaries, &extra).await
    }

    /// Starts it with machines that are records only, so that nothing answers at their addresses.
    pub async fn start(folder: &Path, binaries: &Binaries, extra: &[&str]) -> Result<Self> {
        let mut command = Command::new(&binaries.cloud);
        command
            .args(["--listen", "127.0.0.1:0", "--stage"])
            .args(extra);
        let at = extra.iter().position(|word| *word == "--calls-per-second");
        let given = at.and_then(|at| extra.get(at + 1)?.parse().ok());
        let calls = given.unwrap_or(5);
        let log = folder.join("crusoe-sim.log");
        let mut process = Process::start("crusoe-sim", command, &log)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let found = ["endpoint", "access key", "secret key"].map(|what| value(&said, what));
            if let [Some(endpoint), Some(access_key), Some(secret_key)] = found {
                return Ok(Self {
                    process,
                    endpoint,
                    access_key,
                    secret_key,
                    calls,
                });
            }
            if process.ended()?.is_some() || Instant::now() > deadline {
                bail!("crusoe-sim did not start: {said}");
            }
            super::pause().await;
        }
    }

    /// The backend's configuration, as `dstack backend set` takes it.
    pub fn backend(&self) -> String {
        let calls = self.calls;
        let (endpoint, access, secret) = (&self.endpoint, &self.access_key, &self.secret_key);
        format!(
            "type: crusoe\nproject_id: sim\nendpoint: {endpoint}\ncalls_per_second: {calls}\ncreds:\n  access_key: {access}\n  secret_key: {secret}\n"
        )
    }

    /// Tells the project of it.
    pub async fn introduce(&self, cli: &Cli) -> Result<()> {
        let file = cli.write("crusoe.yml", &self.backend())?;
        cli.run(&["backend", "set", "-f", &file]).await.map(drop)
    }

    /// The next calls whose `METHOD path` contains `calls` meet the fault, so many times.
    pub async fn plan(&self, calls: &str, fault: &str, times: u32) -> Result<()> {
        let plan = json!({"calls": calls, "fault": fault, "times": times});
        self.tell("plan", &plan).await
    }

    /// From now on so many of a thousand calls meet each kind of fault.
    pub async fn faults(&self, rate: u32) -> Result<()> {
        let rates = json!({
            "error_before": rate, "error_after": rate, "lost_answer": rate,
            "too_many": rate, "fails_late": rate,
        });
        self.tell("faults", &rates).await
    }

    /// What somebody does in the cloud's console: `START`, `STOP`, `RESET` or `DELETE` of machines whose names contain
    /// `name`.
    pub async fn act(&self, name: &str, action: &str) -> Result<()> {
        self.tell("act", &json!({"name": name, "action": action}))
            .await
    }

    async fn tell(&self, what: &str, body: &serde_json::Value) -> Result<()> {
        let answer = super::http().post(self.stage(what)).json(body).send().await;
        let answer = answer.with_context(|| format!("telling the cloud of {what}"))?;
        answer
            .error_for_status()
            .context("the cloud refuses")
            .map(drop)
    }

    /// What there is, past all doors.
    pub async fn truth(&self) -> Result<Truth> {
        let answer = super::http().get(self.stage("truth")).send().await;
        let text = answer.context("asking the cloud")?.text().await;
        serde_json::from_str(&text.context("hearing the cloud")?).context("the cloud's truth")
    }

    fn stage(&self, what: &str) -> String {
        format!("{}/sim/{what}", self.endpoint.trim_end_matches("/v1"))
    }

    /// Stops it and hears what was made and what is left.
    pub async fn stop(mut self) -> Result<LastWords> {
        self.process.signal(Signal::SIGINT)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.process.ended()?.is_none() {
            if Instant::now() > deadline {
                bail!("crusoe-sim does not stop: {}", self.process.tail());
            }
            super::pause().await;
        }
        let said = std::fs::read_to_string(&self.process.log).context("its last words")?;
        let last = said.lines().find(|line| line.starts_with("machines made "));
        let last = last.with_context(|| format!("no last words in {said}"))?;
        let number = |what: &str| -> Option<u64> {
            let rest = last.split(what).nth(1)?.trim_start();
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        };
        let told = || {
            Some(LastWords {
                made: number("machines made")?,
                left: [
                    number(", left")?,
                    number("disks left")?,
                    number("partitions left")?,
                ],
                bill: last.split("bill ").nth(1)?.to_owned(),
            })
        };
        told().with_context(|| format!("its last words are strange: {last}"))
    }
}

/// The value of `NAME VALUE`.
fn value(said: &str, name: &str) -> Option<String> {
    let line = said.lines().find(|line| line.starts_with(name))?;
    let value = line.get(name.len()..)?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}
