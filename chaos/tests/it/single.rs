//! `dstack server` with no cluster flags: one voter, everything made on the first start.

use crate::wait::wait_for;
use anyhow::{Context, Result, ensure};
use dstack_chaos::lab::{Binaries, Process, free_port, http, pause};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn start(binaries: &Binaries, home: &Path, port: u16) -> Result<Process> {
    let mut command = Command::new(&binaries.cli);
    command
        .args([
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--token",
            "tok",
            "-y",
        ])
        .env("HOME", home);
    Process::start("dstack server", command, &home.join("server.log"))
}

async fn answers(port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let url = format!("http://127.0.0.1:{port}/api/users/get_my_user");
    loop {
        let answer = http().post(&url).bearer_auth("tok").send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no answer on port {port}");
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_starts_with_nothing_and_comes_back_with_everything() -> Result<()> {
    let home = tempfile::tempdir()?;
    let binaries = Binaries::find()?;
    let port = free_port(Ipv4Addr::LOCALHOST)?;
    let mut server = start(&binaries, home.path(), port)?;
    answers(port).await?;
    let url = format!("http://127.0.0.1:{port}");
    let cli = |args: &[&str]| {
        Command::new(&binaries.cli)
            .args(args)
            .env("HOME", home.path())
            .output()
            .context("running dstack")
    };
    // It has put its project into the configuration of whoever started it.
    let known = async || Ok(String::from_utf8_lossy(&cli(&["project"])?.stdout).contains(&url));
    wait_for("the configuration leads to the server", known).await?;
    ensure!(
        cli(&["secret", "set", "hf", "s3cret"])?.status.success(),
        "a secret cannot be set"
    );
    server.kill()?;
    let mut server = start(&binaries, home.path(), port)?;
    answers(port).await?;
    let kept = cli(&["secret", "get", "hf"])?;
    ensure!(
        String::from_utf8_lossy(&kept.stdout).contains("s3cret"),
        "an acknowledged secret is lost"
    );
    let status = server.terminate(Duration::from_secs(20)).await?;
    ensure!(status.success(), "SIGTERM ends it with {status}");
    let log = std::fs::read_to_string(home.path().join("server.log"))?;
    ensure!(!log.contains("s3cret"), "a secret stands in the log");
    Ok(())
}
