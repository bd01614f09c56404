//! The released `dstack` client from PyPI, unmodified, with a home of its own.

use super::process::kill_by_environment;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tokio::process::Command;

/// The version `scripts/pyclient.sh` installs.
const VERSION: &str = "0.22.5";

/// The client, configured for one server.
#[derive(Debug)]
pub struct Released {
    venv: PathBuf,
    home: PathBuf,
    url: String,
}

impl Released {
    /// Configures the client below `home` for the server at `url`.
    pub async fn start(home: &Path, url: &str, token: &str) -> Result<Self> {
        std::fs::create_dir_all(home).with_context(|| format!("creating {}", home.display()))?;
        let client = Self {
            venv: venv()?,
            home: home.to_owned(),
            url: url.to_owned(),
        };
        let add = ["project", "add", "-y", "--name", "main", "--url", url];
        client
            .run(&[&add[..], &["--token", token]].concat())
            .await?;
        Ok(client)
    }

    /// `dstack` with these arguments, ready to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program(&self.venv.join("bin/dstack"));
        command.args(args);
        command
    }

    /// A script of ours in the client's own Python.
    pub fn python(&self, script: &Path) -> Command {
        let mut command = self.program(&self.venv.join("bin/python"));
        command.arg(script);
        command
    }

    /// OpenSSH's `ssh`, `scp` or `sftp` with the configuration the client wrote.
    pub fn openssh(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.program(Path::new(program));
        command
            .arg("-F")
            .arg(self.home.join(".dstack/ssh/config"))
            .args(args);
        command
    }

    /// Runs `dstack` to its end, whatever the exit code. A traceback is never an answer.
    pub async fn output(&self, args: &[&str]) -> Result<Output> {
        let out = self.command(args).output().await;
        let out = out.with_context(|| format!("running dstack {}", args.join(" ")))?;
        ensure!(
            !text(&out).contains("Traceback"),
            "dstack {}: {}",
            args.join(" "),
            text(&out)
        );
        Ok(out)
    }

    /// Runs it and wants exit code 0; returns what it said.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let out = self.output(args).await?;
        ensure!(
            out.status.success(),
            "dstack {} ended with {}:\n{}",
            args.join(" "),
            out.status,
            text(&out)
        );
        Ok(text(&out))
    }

    /// Writes a configuration below its home; answers with the path.
    pub fn write(&self, name: &str, yaml: &str) -> Result<String> {
        let path = self.home.join(name);
        std::fs::write(&path, yaml).with_context(|| format!("writing {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// The one address it knows.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env("NO_COLOR", "1")
            .env("COLUMNS", "200")
            .env("PYTHONUNBUFFERED", "1")
            .env_remove("DSTACK_PROJECT")
            .env_remove("DSTACK_SERVER_URL")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        // Tunnels detach from the client that opened them.
        kill_by_environment("HOME", &self.home);
    }
}

/// Both outputs, as one reads them.
pub fn text(out: &Output) -> String {
    let stdout = String::from_utf8_lossy(&out.stdout);
    let stderr = String::from_utf8_lossy(&out.stderr);
    format!("{stdout}{stderr}")
}

/// The Python that has the client in it.
pub fn released_python() -> Result<PathBuf> {
    Ok(venv()?.join("bin/python"))
}

/// Where `scripts/pyclient.sh` put it.
fn venv() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache
        .or(home)
        .context("neither HOME nor XDG_CACHE_HOME is set")?;
    let venv = cache.join("dstack-pyclient").join(VERSION);
    ensure!(
        venv.join("complete").exists(),
        "the released client is not in {}; run scripts/pyclient.sh",
        venv.display()
    );
    Ok(venv)
}
