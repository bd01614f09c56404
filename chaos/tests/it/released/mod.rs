//! The released client from PyPI, unmodified, against a follower.

mod attached;
mod commands;
mod elections;
mod fleets;

use anyhow::{Context, Result, ensure};
use dstack_chaos::campaign::Lab;
use dstack_chaos::lab::{Released, text};
use tokio::process::Command;

/// What the smallest host has.
pub const RESOURCES: &str = "resources: {cpu: 1.., memory: 0.1GB.., disk: 0.1GB..}\n";

/// A lab, and the client pointed at a follower.
pub struct Setting {
    pub client: Released,
    pub lab: Lab,
    pub folder: tempfile::TempDir,
}

pub async fn setting() -> Result<Setting> {
    setting_of(1).await
}

/// With so many hosts.
pub async fn setting_of(hosts: u8) -> Result<Setting> {
    let folder = tempfile::tempdir()?;
    let mut lab = Lab::start(folder.path(), hosts).await?;
    let follower = lab.cluster.follower().await?;
    let url = lab.cluster.replicas[follower].url();
    let home = folder.path().join("released");
    let client = Released::start(&home, &url, &lab.cluster.token).await?;
    Ok(Setting {
        client,
        lab,
        folder,
    })
}

pub fn task(name: &str, more: &str) -> String {
    format!("type: task\nname: {name}\nimage: debian:12\n{RESOURCES}{more}")
}

pub async fn succeed(command: &mut Command) -> Result<String> {
    let out = command.output().await.context("starting a program")?;
    ensure!(out.status.success(), "{command:?}: {}", text(&out));
    Ok(text(&out))
}
