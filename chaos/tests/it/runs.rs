//! What people see of runs that fail, stop and are deleted.

use anyhow::{Context, Result, ensure};
use dstack_chaos::campaign::Lab;
use dstack_chaos::lab::Cli;
use std::time::{Duration, Instant};

use crate::clone::Clone;

const FAIL: &str = include_str!("../../../examples/fail.dstack.yml");

async fn run(cli: &Cli, name: &str) -> Result<serde_json::Value> {
    serde_json::from_str(&cli.run(&["run", "get", name, "--json"]).await?)
        .context("run get prints JSON")
}

async fn wait_status(cli: &Cli, name: &str, wanted: &str) -> Result<serde_json::Value> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let value = run(cli, name).await?;
        if value["status"] == wanted {
            return Ok(value);
        }
        ensure!(
            Instant::now() < deadline,
            "{name} is {} and not {wanted}",
            value["status"]
        );
        dstack_chaos::lab::pause().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_node_fails_the_run_and_says_with_which_status() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lab = Lab::start(folder.path(), 2).await?;
    let cli = &lab.clis[0];
    let file = cli.write("fail.dstack.yml", FAIL)?;
    let out = cli.output(&["apply", "-f", &file, "-y"]).await?;
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(
        out.status.code() == Some(1),
        "apply of a failing run exits with {}: {told}",
        out.status
    );
    ensure!(
        told.contains("exited (3)"),
        "apply does not tell the exit status: {told}"
    );
    let failed = run(cli, "fail").await?;
    ensure!(
        failed["status"] == "failed" && failed["termination_reason"] == "job_failed",
        "{failed}"
    );
    let culprit = &failed["jobs"][1]["job_submissions"][0];
    ensure!(
        culprit["exit_status"] == 3
            && culprit["termination_reason"] == "container_exited_with_error",
        "{culprit}"
    );
    let sibling = &failed["jobs"][0]["job_submissions"][0];
    ensure!(
        sibling["termination_reason"] == "terminated_by_server",
        "{sibling}"
    );
    let table = cli.run(&["ps", "-a", "-v"]).await?;
    ensure!(
        table.contains("exited (3)"),
        "ps -v does not tell the exit status:\n{table}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_applied_again_and_deleted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lab = Lab::start(folder.path(), 1).await?;
    let cli = &lab.clis[0];
    let yaml = "type: task\nname: sleeper\nimage: debian:12\ncommands:\n  - echo up; exec sleep 600\n\
                resources: {cpu: 1.., memory: 0.1GB.., disk: 0.1GB..}\n";
    let file = cli.write("sleeper.dstack.yml", yaml)?;
    cli.run(&["apply", "-f", &file, "-y", "-d"]).await?;
    wait_status(cli, "sleeper", "running").await?;
    let again = cli.output(&["apply", "-f", &file, "-y", "-d"]).await?;
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    ensure!(
        again.status.success() && told.contains("nothing has changed"),
        "applying again: {told}"
    );
    let refused = cli.output(&["delete", "-f", &file, "-y"]).await?;
    ensure!(!refused.status.success(), "an active run was deleted");
    cli.run(&["stop", "sleeper", "-y"]).await?;
    let stopped = wait_status(cli, "sleeper", "terminated").await?;
    ensure!(
        stopped["termination_reason"] == "stopped_by_user",
        "{stopped}"
    );
    cli.run(&["delete", "-f", &file, "-y"]).await?;
    let gone = cli.output(&["run", "get", "sleeper", "--json"]).await?;
    ensure!(
        !gone.status.success(),
        "a deleted run is still found by its name"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_runs_as_it_lies_here() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lab = Lab::start(folder.path(), 1).await?;
    let cli = &lab.clis[0];
    let clone = Clone::make(cli.home())?;
    std::fs::write(clone.work.join("new"), "not added\n")?;
    std::fs::write(clone.work.join("secret"), "ignored\n")?;
    let yaml = "type: task\nname: code\nimage: debian:12\nrepos: [work]\nworking_dir: /workflow\ncommands:\n  - cat tracked new; ls -1; git log --oneline | wc -l\nresources: {cpu: 1.., memory: 0.1GB.., disk: 0.1GB..}\n";
    let file = cli.write("code.dstack.yml", yaml)?;
    let said = cli.run(&["apply", "-f", &file, "-y"]).await?;
    for words in [
        "committed\nand changed\nnot added\n",
        "new\ntracked\n",
        "\n1\n",
    ] {
        ensure!(
            said.replace('\r', "").contains(words),
            "no {words:?} in {said}"
        );
    }
    ensure!(!said.contains("secret"), "an ignored file was sent: {said}");

    // The same over SSH, with a key that only the server gets to keep.
    clone.follow_over_ssh(&lab.hosts[0])?;
    let file = cli.write(
        "code.dstack.yml",
        &yaml.replace("name: code", "name: code2"),
    )?;
    let refused = cli.output(&["apply", "-f", &file, "-y"]).await?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && told.contains("--git-identity"),
        "{told}"
    );
    let key = folder.path().join("id_ed25519").display().to_string();
    cli.run(&["init", "--repo", "work", "--git-identity", &key])
        .await?;
    let said = cli.run(&["apply", "-f", &file, "-y"]).await?;
    ensure!(said.contains("and changed"), "{said}");
    Ok(())
}
