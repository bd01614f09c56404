//! One real replica process on loopback.

use super::binaries::Binaries;
use super::process::Process;
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// What a replica needs to start, kept so that it can start again.
#[derive(Debug, Clone)]
pub struct ReplicaPlan {
    /// Its name in the cluster.
    pub name: String,
    /// Port of the HTTP API on 127.0.0.1.
    pub http_port: u16,
    /// Address of the peer listener.
    pub peer: String,
    /// `name=addr,…` of the first members; empty for a single voter.
    pub initial_cluster: String,
    /// Its data.
    pub data: PathBuf,
    /// Its certificates; `None` lets a single voter make its own.
    pub tls: Option<PathBuf>,
    /// The admin's token.
    pub token: String,
    /// More variables for it.
    pub env: Vec<(String, String)>,
}

/// A replica that runs, or did.
#[derive(Debug)]
pub struct Replica {
    /// How it is started.
    pub plan: ReplicaPlan,
    binaries: Binaries,
    process: Option<Process>,
}

impl Replica {
    /// A replica that is not yet started.
    pub fn new(plan: ReplicaPlan, binaries: Binaries) -> Self {
        Self {
            plan,
            binaries,
            process: None,
        }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.plan.http_port)
    }

    /// Starts it; does not wait for anything.
    pub fn start(&mut self) -> Result<()> {
        std::fs::create_dir_all(&self.plan.data).context("creating a replica's folder")?;
        let plan = &self.plan;
        let mut command = Command::new(&self.binaries.server);
        command
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &plan.http_port.to_string(),
                "-y",
            ])
            .args(["--node-name", &plan.name, "--peer-listen", &plan.peer])
            // Not as an argument: those are for everybody to see.
            .env("DSTACK_SERVER_ADMIN_TOKEN", &plan.token)
            .arg("--server-dir")
            .arg(&plan.data)
            .env("HOME", plan.data.with_extension("home"))
            .env("DSTACK_AGENT_BINARY", &self.binaries.agent)
            .envs(plan.env.iter().cloned());
        if !plan.initial_cluster.is_empty() {
            command.args(["--initial-cluster", &plan.initial_cluster]);
        }
        if let Some(tls) = &plan.tls {
            command.arg("--tls-dir").arg(tls);
        }
        let log = plan.data.with_extension("log");
        self.process = Some(Process::start(
            &format!("replica {}", plan.name),
            command,
            &log,
        )?);
        Ok(())
    }

    /// Whether its process is there.
    pub fn runs(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| matches!(process.ended(), Ok(None)))
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// SIGTERM, then waits for a clean end.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the replica does not run")?;
        process.terminate(Duration::from_secs(30)).await
    }

    /// SIGSTOP or SIGCONT and the like.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process
            .as_ref()
            .context("the replica does not run")?
            .signal(signal)
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(|process| process.pid().as_raw())
    }

    /// Waits until `/healthcheck` answers.
    pub async fn wait_answers(&mut self, limit: Duration) -> Result<()> {
        let url = format!("{}/healthcheck", self.url());
        let deadline = Instant::now() + limit;
        loop {
            if super::http()
                .get(&url)
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                return Ok(());
            }
            if !self.runs() {
                bail!("replica {} ended at once:\n{}", self.plan.name, self.tail());
            }
            if Instant::now() > deadline {
                bail!(
                    "replica {} does not answer within {limit:?}:\n{}",
                    self.plan.name,
                    self.tail()
                );
            }
            super::pause().await;
        }
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        super::process::tail(&self.plan.data.with_extension("log"), 15)
    }
}
