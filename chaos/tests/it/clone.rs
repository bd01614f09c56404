//! A Git repository with one commit, and a clone of it that has been changed since.

use anyhow::{Context, Result, ensure};
use dstack_chaos::lab::{Host, current_user, text};
use std::path::{Path, PathBuf};

pub struct Clone {
    origin: PathBuf,
    /// Its folder is called `work`.
    pub work: PathBuf,
}

impl Clone {
    /// Below `home`: the file `tracked` is committed, pushed, and has one more line since.
    pub fn make(home: &Path) -> Result<Self> {
        let (origin, work) = (home.join("origin"), home.join("work"));
        std::fs::create_dir_all(&origin)?;
        git(
            &origin,
            &["init", "--quiet", "--bare", "--initial-branch", "main"],
        )?;
        let from = origin.display().to_string();
        git(home, &["clone", "--quiet", &from, "work"])?;
        std::fs::write(work.join("tracked"), "committed\n")?;
        std::fs::write(work.join(".gitignore"), "secret\n")?;
        git(&work, &["checkout", "--quiet", "-b", "main"])?;
        git(&work, &["add", "."])?;
        git(&work, &["commit", "--quiet", "-m", "one"])?;
        git(&work, &["push", "--quiet", "-u", "origin", "main"])?;
        std::fs::write(work.join("tracked"), "committed\nand changed\n")?;
        Ok(Self { origin, work })
    }

    /// From now on the clone follows its origin over SSH, on that host.
    pub fn follow_over_ssh(&self, host: &Host) -> Result<()> {
        let url = format!(
            "ssh://{}@{}:{}{}",
            current_user(),
            host.address,
            host.port,
            self.origin.display()
        );
        git(&self.work, &["remote", "set-url", "origin", &url])
    }
}

fn git(folder: &Path, args: &[&str]) -> Result<()> {
    let out = std::process::Command::new("git")
        .args(["-c", "user.name=ann", "-c", "user.email=ann@example.com"])
        .args(args)
        .current_dir(folder)
        .output()
        .context("running git")?;
    ensure!(out.status.success(), "git {args:?}: {}", text(&out));
    Ok(())
}
