//! Our own client attached: SSH, ports, the same files as upstream's, and nothing left behind.

use anyhow::{Context, Result, ensure};
use dstack_chaos::campaign::Lab;
use dstack_chaos::lab::{Cli, free_port, text};
use std::net::Ipv4Addr;
use std::process::Stdio;
use tokio::process::Child;

use crate::wait::{PATIENCE, answers, wait_for};

/// Runs in the background with its output in a file.
fn start(cli: &Cli, args: &[&str]) -> Result<Child> {
    let log = std::fs::File::create(cli.home().join("attach.log"))?;
    let mut command = cli.command(args);
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().context("starting dstack")
}

fn said(cli: &Cli) -> String {
    std::fs::read_to_string(cli.home().join("attach.log")).unwrap_or_default()
}

async fn says(cli: &Cli, words: &str) -> Result<()> {
    let waited = wait_for(words, async || Ok(said(cli).contains(words))).await;
    waited.with_context(|| said(cli))
}

async fn ssh(cli: &Cli, to: &str, command: &str) -> Result<String> {
    let mut ssh = tokio::process::Command::new("ssh");
    let config = cli.home().join(".dstack/ssh/config");
    ssh.arg("-F")
        .arg(config)
        .args([to, command])
        .stdin(Stdio::null());
    let out = ssh.output().await.context("running ssh")?;
    ensure!(out.status.success(), "ssh {to}: {}", text(&out));
    Ok(text(&out))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_entered_over_ssh_and_leaves_nothing_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut lab = Lab::start(folder.path(), 1).await?;
    let cli = lab.clis[0].clone();
    let (local, remote) = (
        free_port(Ipv4Addr::LOCALHOST)?,
        free_port(Ipv4Addr::LOCALHOST)?,
    );
    let yaml = format!(
        "type: dev-environment\nname: dev\nimage: debian:12\nide: zed\nports: [\"{local}:{remote}\"]\ninit:\n  - echo made > file\n  - python3 -m http.server {remote} --bind 127.0.0.1 >server.log 2>&1 &\nresources: {{cpu: 1.., memory: 0.1GB.., disk: 0.1GB..}}\n"
    );
    let file = cli.write("dev.dstack.yml", &yaml)?;
    let mut apply = start(&cli, &["apply", "-f", &file, "-y"])?;
    says(&cli, "Attached: ssh dev").await?;
    says(&cli, "zed://ssh/dev/").await?;
    says(&cli, "To connect via SSH").await?;
    ensure!(ssh(&cli, "dev", "cat file").await?.contains("made"), "ssh");
    let url = format!("http://127.0.0.1:{local}/file");
    wait_for("the forwarded port", async || Ok(answers(&url).await)).await?;
    // The port is taken now, and that is said before anything is submitted.
    let other = cli.write(
        "other.dstack.yml",
        &yaml.replace("name: dev", "name: other"),
    )?;
    let out = cli.output(&["apply", "-f", &other, "-y"]).await?;
    ensure!(
        !out.status.success() && text(&out).contains("is taken"),
        "{}",
        text(&out)
    );
    let out = cli.output(&["run", "get", "other", "--json"]).await?;
    ensure!(!out.status.success(), "a run was submitted in vain");

    let leader = lab.cluster.wait_leader(PATIENCE).await?;
    lab.cluster.replicas[leader].kill()?;
    ensure!(
        ssh(&cli, "dev", "cat file").await?.contains("made"),
        "ssh after a leader's death"
    );
    cli.run(&["stop", "dev", "-y"]).await?;
    let ended = tokio::time::timeout(PATIENCE, apply.wait()).await??;
    ensure!(
        ended.code() == Some(1),
        "a stopped run is not done: {}",
        said(&cli)
    );
    let config = std::fs::read_to_string(cli.home().join(".dstack/ssh/config"))?;
    ensure!(
        !config.contains("Host dev"),
        "blocks are left behind: {config}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_task_is_attached_to_by_its_number() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lab = Lab::start(folder.path(), 2).await?;
    let cli = &lab.clis[1];
    let yaml = "type: task\nname: pair\nnodes: 2\nimage: debian:12\ncommands: [\"for n in $(seq 600); do echo rank $DSTACK_NODE_RANK tick $n; sleep 0.5; done\"]\nresources: {cpu: 1.., memory: 0.1GB.., disk: 0.1GB..}\n";
    let file = cli.write("pair.dstack.yml", yaml)?;
    cli.run(&["apply", "-f", &file, "-y", "-d"]).await?;
    let mut attach = start(cli, &["attach", "pair", "--job", "1", "--logs"])?;
    says(cli, "Attached: ssh pair-1-0").await?;
    says(cli, "rank 1 tick 1").await?;
    let rank = ssh(cli, "pair-1-0", "echo $DSTACK_NODE_RANK").await?;
    ensure!(rank.trim() == "1", "{rank}");
    let refused = cli.output(&["attach", "nope"]).await?;
    ensure!(text(&refused).contains("not found"), "{}", text(&refused));
    let offers = cli.run(&["offer", "--json"]).await?;
    ensure!(offers.contains("\"total_offers\": 2"), "{offers}");
    ensure!(
        cli.run(&["offer", "--gpu", "0", "--group-by", "gpu"])
            .await?
            .contains("cpu="),
        "offer"
    );
    let sampled = async || Ok(!cli.run(&["metrics", "pair"]).await?.contains("no data"));
    wait_for("two samples of its use", sampled).await?;
    cli.run(&["stop", "pair", "-x", "-y"]).await?;
    let ended = tokio::time::timeout(PATIENCE, attach.wait()).await??;
    ensure!(ended.code() == Some(1), "{}", said(cli));
    let refused = cli.output(&["attach", "pair"]).await?;
    ensure!(text(&refused).contains("is finished"), "{}", text(&refused));
    Ok(())
}
