//! The user's `git`, asked and not interpreted.

use crate::failure::{Failure, Outcome};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A working copy.
#[derive(Debug, Clone)]
pub struct Git {
    folder: PathBuf,
}

impl Git {
    /// The working copy at `folder`, or why there is none.
    pub fn open(folder: &Path) -> Outcome<Self> {
        if !folder.is_dir() {
            return Err(Failure::refused(format!(
                "repos: {} is not a folder",
                folder.display()
            )));
        }
        let git = Self {
            folder: folder.to_owned(),
        };
        if git.ask(&["rev-parse", "--is-inside-work-tree"])?.is_none() {
            return Err(Failure::with_hint(
                format!("repos: {} is not a Git repository", folder.display()),
                "Use `files` for folders that are none",
            ));
        }
        Ok(git)
    }

    /// One line of answer; none when git says no.
    pub fn ask(&self, args: &[&str]) -> Outcome<Option<String>> {
        let out = self.run(args, &[])?;
        let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        Ok((out.status.success() && !text.is_empty()).then_some(text))
    }

    /// Everything that differs from a commit: changes, and new files that are not ignored.
    pub fn diff(&self, commit: &str) -> Outcome<Vec<u8>> {
        // An index of our own, so that the user's stays as it is.
        let index = std::env::temp_dir().join(format!("dstack-index-{}", uuid::Uuid::new_v4()));
        let own = [("GIT_INDEX_FILE", index.as_path())];
        let made = self
            .must(&["read-tree", "HEAD"], &own)
            .and_then(|_| self.must(&["add", "--all", "--", ":/"], &own))
            .and_then(|_| self.must(&["diff", "--cached", "--binary", commit], &own));
        let _ = std::fs::remove_file(&index);
        made.map(|out| out.stdout)
    }

    fn must(&self, args: &[&str], env: &[(&str, &Path)]) -> Outcome<Output> {
        let out = self.run(args, env)?;
        if out.status.success() {
            return Ok(out);
        }
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        Err(Failure::refused(format!("git {}: {said}", args.join(" "))))
    }

    fn run(&self, args: &[&str], env: &[(&str, &Path)]) -> Outcome<Output> {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.folder).args(args);
        for (name, value) in env {
            command.env(name, value);
        }
        Ok(command
            .stdin(Stdio::null())
            .output()
            .context("running git")?)
    }
}

/// Whether anybody can read the repository, with nothing of this machine's configuration.
pub fn is_public(url: &str) -> bool {
    Command::new("git")
        .args(["ls-remote", "--quiet", "--exit-code", "--", url, "HEAD"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
