//! The real CLI with a home of its own, so that the user's `~/.dstack` is never touched.

use super::binaries::Binaries;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// Runs `dstack` against one set of replicas.
#[derive(Debug, Clone)]
pub struct Cli {
    binary: PathBuf,
    home: PathBuf,
    url: String,
    token: String,
}

impl Cli {
    /// A CLI whose home is `home`; `urls` may name several replicas.
    pub fn new(binaries: &Binaries, home: &Path, urls: &[String], token: &str) -> Result<Self> {
        std::fs::create_dir_all(home).with_context(|| format!("creating {}", home.display()))?;
        Ok(Self {
            binary: binaries.cli.clone(),
            home: home.to_owned(),
            url: urls.join(","),
            token: token.to_owned(),
        })
    }

    /// The command, ready to be started.
    pub fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.binary);
        command
            .args(args)
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env("DSTACK_SERVER_URL", &self.url)
            .env("DSTACK_TOKEN", &self.token)
            .env("DSTACK_PROJECT", "main")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end, whatever the exit code.
    pub async fn output(&self, args: &[&str]) -> Result<Output> {
        self.command(args)
            .output()
            .await
            .with_context(|| format!("running dstack {}", args.join(" ")))
    }

    /// Runs it and wants exit code 0; returns stdout.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let out = self.output(args).await?;
        let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
        if !out.status.success() {
            bail!(
                "dstack {} ended with {}:\n{stdout}\n{}",
                args.join(" "),
                out.status,
                String::from_utf8_lossy(&out.stderr)
            );
        }
        Ok(stdout)
    }

    /// Writes a configuration below its home; answers with the path.
    pub fn write(&self, name: &str, yaml: &str) -> Result<String> {
        let path = self.home.join(name);
        std::fs::write(&path, yaml).with_context(|| format!("writing {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// Its home, where configurations may be written.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The variables to export to use the same cluster from a shell.
    pub fn exports(&self) -> String {
        format!(
            "export HOME={} DSTACK_SERVER_URL={} DSTACK_TOKEN={} DSTACK_PROJECT=main",
            self.home.display(),
            self.url,
            self.token
        )
    }
}
