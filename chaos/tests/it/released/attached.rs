//! Attached: output, exit codes, ssh, scp, forwarded ports, environments.

use anyhow::{Context, Result, ensure};
use dstack_chaos::lab::{Released, free_port, text};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::{RESOURCES, Setting, setting, succeed, task};
use crate::wait::{answers, wait_for};

/// A client that stays; what it says is read until the awaited words come.
struct Attached {
    child: Child,
    said: String,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Attached {
    fn start(client: &Released, args: &[&str]) -> Result<Self> {
        let mut command = client.command(args);
        let log = std::fs::File::create(client.home().join("attached.err"))?;
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().context("starting the client")?;
        let out = child.stdout.take().context("its output")?;
        Ok(Self {
            child,
            said: String::new(),
            lines: BufReader::new(out).lines(),
        })
    }

    async fn says(&mut self, words: &str) -> Result<()> {
        while !self.said.contains(words) {
            let next = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
            let line = next.with_context(|| format!("no {words:?} in {}", self.said))??;
            let line =
                line.with_context(|| format!("it ended without {words:?}: {}", self.said))?;
            self.said.push_str(&line);
            self.said.push('\n');
        }
        Ok(())
    }

    async fn end(mut self) -> Result<(Option<i32>, String)> {
        while let Some(line) = self.lines.next_line().await? {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        Ok((self.child.wait().await?.code(), self.said))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_apply_shows_the_output_and_ends_as_the_job_does() -> Result<()> {
    let Setting { client, .. } = &setting().await?;
    let good = "commands:\n  - for n in 1 2 3; do echo line $n; sleep 0.3; done\n";
    let file = client.write("good.yml", &task("good", good))?;
    let out = client.output(&["apply", "-y", "-f", &file]).await?;
    let said = text(&out);
    ensure!(out.status.success(), "{}: {said}", out.status);
    for n in 1..=3 {
        let times = said.matches(&format!("line {n}")).count();
        ensure!(times == 1, "line {n} was shown {times} times: {said}");
    }
    // So short that it is over before anybody can attach.
    let file = client.write("quick.yml", &task("quick", "commands: [echo hi there]\n"))?;
    let said = client.run(&["apply", "-y", "-f", &file]).await?;
    ensure!(said.contains("hi there"), "{said}");
    let file = client.write("bad.yml", &task("bad", "commands: [echo oh, exit 3]\n"))?;
    let out = client.output(&["apply", "-y", "-f", &file]).await?;
    let said = text(&out);
    ensure!(out.status.code() == Some(1), "{}: {said}", out.status);
    let table = client.run(&["ps", "-a", "-v"]).await?;
    ensure!(table.contains("exited (3)"), "{table}");
    ensure!(
        client.run(&["logs", "good"]).await?.contains("line 3"),
        "logs"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_user_has_ssh_scp_and_ports_whoever_leads() -> Result<()> {
    let mut setting = setting().await?;
    let client = &setting.client;
    let port = free_port(Ipv4Addr::LOCALHOST)?;
    let serve = format!(
        "ports: [\"{port}\"]\ncommands:\n  - echo port > file && python3 -m http.server {port} --bind 127.0.0.1 &\n  - echo up; for n in $(seq 600); do echo tick $n; sleep 0.5; done\n"
    );
    // The job runs on this very machine, so the port is taken here: another one leads to it.
    let local = free_port(Ipv4Addr::LOCALHOST)?;
    let serve = serve.replacen(&format!("\"{port}\""), &format!("\"{local}:{port}\""), 1);
    let file = client.write("serve.yml", &task("serve", &serve))?;
    client.run(&["apply", "-y", "-d", "-f", &file]).await?;
    let mut attached = Attached::start(client, &["attach", "--logs", "serve"])?;
    attached.says("tick 1").await?;
    let said =
        succeed(&mut client.openssh("ssh", &["serve", "cat file; echo $DSTACK_RUN_NAME"])).await?;
    ensure!(said.contains("port") && said.contains("serve"), "{said}");
    let local_file = setting.folder.path().join("sent");
    std::fs::write(&local_file, "through scp")?;
    let sent = local_file.display().to_string();
    succeed(&mut client.openssh("scp", &[&sent, "serve:received"])).await?;
    let said = succeed(&mut client.openssh("ssh", &["serve", "cat received"])).await?;
    ensure!(said.contains("through scp"), "{said}");
    let url = format!("http://127.0.0.1:{local}/file");
    wait_for("the forwarded port", async || Ok(answers(&url).await)).await?;

    let leader = setting
        .lab
        .cluster
        .wait_leader(Duration::from_secs(30))
        .await?;
    setting.lab.cluster.replicas[leader].kill()?;
    setting
        .lab
        .cluster
        .wait_leader(Duration::from_secs(30))
        .await?;
    ensure!(
        answers(&url).await,
        "the forwarded port is gone with the leader"
    );
    let tick = attached.said.matches("tick").count() + 3;
    attached.says(&format!("tick {tick}")).await?;
    client.run(&["stop", "-y", "serve"]).await?;
    let (_, said) = attached.end().await?;
    let ticks: Vec<&str> = said.lines().filter(|line| line.contains("tick ")).collect();
    for (at, line) in ticks.iter().enumerate() {
        ensure!(line.trim() == format!("tick {}", at + 1), "{line} at {at}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_entered_changed_in_place_and_left() -> Result<()> {
    let Setting { client, .. } = &setting().await?;
    let dev = |limit: &str| {
        format!(
            "type: dev-environment\nname: dev\nimage: debian:12\nide: vscode\ninit: [echo ready > made]\ninactivity_duration: {limit}\n{RESOURCES}"
        )
    };
    let file = client.write("dev.yml", &dev("2h"))?;
    let mut attached = Attached::start(client, &["apply", "-y", "-f", &file])?;
    attached
        .says("vscode://vscode-remote/ssh-remote+dev/")
        .await?;
    attached.says("ssh dev").await?;
    // What VS Code does first: a script over standard input, answered on standard output.
    let mut shell = client.openssh("ssh", &["-T", "dev", "bash"]);
    let script = setting_script(client)?;
    shell.stdin(std::fs::File::open(script)?);
    let said = succeed(&mut shell).await?;
    ensure!(
        said.contains("ready") && said.contains("listening"),
        "{said}"
    );
    let file = client.write("dev.yml", &dev("3h"))?;
    let said = client.run(&["apply", "-y", "-d", "-f", &file]).await?;
    ensure!(
        said.contains("in-place") || said.contains("updat"),
        "{said}"
    );
    let listed = client.run(&["ps", "-v"]).await?;
    ensure!(listed.contains("dev"), "{listed}");
    client.run(&["stop", "-y", "dev"]).await?;
    attached.end().await?;
    Ok(())
}

fn setting_script(client: &Released) -> Result<std::path::PathBuf> {
    let path = client.home().join("bootstrap.sh");
    std::fs::write(&path, "cat made\nuname -m\necho listening\n")?;
    Ok(path)
}
