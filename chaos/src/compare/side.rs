//! The servers compared: upstream's with SQLite, and ours with one and with three replicas.

use super::questions;
use crate::lab::{Binaries, Cluster, Process, free_port, http, pause};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// One server that is asked.
pub struct Side {
    pub name: &'static str,
    pub urls: Vec<String>,
    pub token: String,
    pub cli: PathBuf,
    /// Home of its CLI.
    pub home: PathBuf,
    pids: Vec<i32>,
    past: Past,
    /// Kept alive, and ended with the side.
    _upstream: Option<Process>,
    _ours: Option<Cluster>,
}

/// How a side comes to a long past.
enum Past {
    /// Runs are submitted and fail, as there is no fleet.
    Submitted,
    /// One run is, and then copied in the database: upstream would need an hour.
    Copied { database: PathBuf },
}

/// Starts upstream's server from its virtual environment.
pub async fn upstream(folder: &Path, venv: &Path) -> Result<Side> {
    let home = folder.join("upstream");
    std::fs::create_dir_all(&home).context("a home for upstream's server")?;
    let port = free_port(Ipv4Addr::LOCALHOST)?;
    let token = uuid::Uuid::new_v4().to_string();
    let mut command = Command::new(venv.join("bin/dstack"));
    command
        .args(["server", "--host", "127.0.0.1", "--port"])
        .args([&port.to_string(), "-y"])
        .env("HOME", &home)
        .env("DSTACK_SERVER_ADMIN_TOKEN", &token)
        .env("DSTACK_SERVER_LOG_LEVEL", "ERROR");
    let process = Process::start("upstream's server", command, &home.join("server.log"))?;
    let url = format!("http://127.0.0.1:{port}");
    wait_answers(&url, &process).await?;
    Ok(Side {
        name: "upstream 0.22.5 (SQLite)",
        pids: vec![process.pid().as_raw()],
        urls: vec![url],
        token,
        cli: venv.join("bin/dstack"),
        past: Past::Copied {
            database: home.join(".dstack/server/data/sqlite.db"),
        },
        home,
        _upstream: Some(process),
        _ours: None,
    })
}

/// Starts `size` replicas of ours.
pub async fn ours(
    folder: &Path,
    name: &'static str,
    size: usize,
    binaries: &Binaries,
) -> Result<Side> {
    let cluster = Cluster::start(&folder.join(format!("ours-{size}")), size, binaries, &[]).await?;
    let home = folder.join(format!("home-{size}"));
    std::fs::create_dir_all(&home).context("a home for the CLI")?;
    Ok(Side {
        name,
        urls: cluster.urls(),
        token: cluster.token.clone(),
        cli: binaries.cli.clone(),
        home,
        pids: cluster
            .replicas
            .iter()
            .filter_map(|one| one.pid())
            .collect(),
        past: Past::Submitted,
        _upstream: None,
        _ours: Some(cluster),
    })
}

impl Side {
    /// Lets `count` runs have ended.
    pub async fn age(&self, count: usize) -> Result<()> {
        match &self.past {
            Past::Submitted => {
                let have = self.submitted_past().await?;
                for number in have..count {
                    let body = questions::submission(&format!("past-{number}"));
                    self.call("/api/project/main/runs/apply", &body).await?;
                }
            }
            Past::Copied { database } => {
                if count > 0 {
                    if self.submitted_past().await? == 0 {
                        let body = questions::submission("past-0");
                        self.call("/api/project/main/runs/apply", &body).await?;
                    }
                    self.wait_quiet().await?;
                    copy_runs(database, count)?;
                }
            }
        }
        self.wait_quiet().await
    }

    /// Runs that an earlier call left, told by the highest number among the newest names.
    async fn submitted_past(&self) -> Result<usize> {
        let body = json!({ "project_name": "main", "limit": 100 });
        let runs = self.call("/api/runs/list", &body).await?;
        let numbers = runs.as_array().into_iter().flatten().filter_map(|run| {
            let name = run["run_spec"]["run_name"].as_str()?;
            name.strip_prefix("past-")?.parse::<usize>().ok()
        });
        Ok(numbers.max().map_or(0, |highest| highest + 1))
    }

    /// Waits until no run is active.
    pub async fn wait_quiet(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(900);
        let body = json!({ "project_name": "main", "only_active": true, "limit": 1 });
        loop {
            let active = self.call("/api/runs/list", &body).await?;
            if active.as_array().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{}: runs are still active after 15 minutes", self.name);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    pub async fn call(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = http()
            .post(format!("{}{path}", self.urls[0]))
            .bearer_auth(&self.token)
            .json(body)
            .send()
            .await
            .with_context(|| format!("{}: {path}", self.name))?;
        let status = answer.status();
        let text = answer.text().await.context("reading an answer")?;
        if !status.is_success() {
            bail!("{}: {path} answered {status}: {text}", self.name);
        }
        serde_json::from_str(&text).with_context(|| format!("{path} answered {text}"))
    }

    /// Resident memory of each of its processes, in MB.
    pub fn memory(&self) -> Result<Vec<f64>> {
        self.pids
            .iter()
            .map(|pid| crate::bench::resident_mb(*pid))
            .collect()
    }

    /// Wall time of one `dstack ps -a` with its own CLI.
    pub fn ps(&self) -> Result<Duration> {
        let start = Instant::now();
        let out = Command::new(&self.cli)
            .args(["ps", "-a"])
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env("DSTACK_SERVER_URL", &self.urls[0])
            .env("DSTACK_TOKEN", &self.token)
            .env("DSTACK_PROJECT", "main")
            .output()
            .with_context(|| format!("running {}", self.cli.display()))?;
        if !out.status.success() {
            bail!("{} ps: {}", self.name, String::from_utf8_lossy(&out.stderr));
        }
        Ok(start.elapsed())
    }
}

fn copy_runs(database: &Path, count: usize) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/copy_runs.py");
    let out = Command::new("python3")
        .arg(script)
        .arg(database)
        .arg(count.to_string())
        .output()
        .context("running bench/copy_runs.py")?;
    if !out.status.success() {
        bail!("copy_runs.py: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}

async fn wait_answers(url: &str, process: &Process) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while http()
        .get(format!("{url}/healthcheck"))
        .send()
        .await
        .is_err()
    {
        if Instant::now() > deadline {
            bail!("upstream's server does not answer:\n{}", process.tail());
        }
        pause().await;
    }
    Ok(())
}
