//! Our own client attached: SSH, ports, the same files as upstream's, and nothing left behind.

use anyhow::{Context, Result, ensure};
use dstack_chaos::campaign::Lab;
use dstack_chaos::lab::{Cli, free_port, text};
use std::net::Ipv4Addr;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
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
    let yaml = "type: task\nname: pair\nnodes: 2\nimage: debian:12\ncommands: [\"last=$(echo \\\"$DSTACK_NODES_IPS\\\" | tail -1); until ssh $OMPI_MCA_plm_rsh_args $last 'echo reached rank $DSTACK_NODE_RANK'; do sleep 0.2; done\", \"for n in $(seq 600); do echo rank $DSTACK_NODE_RANK tick $n; sleep 0.5; done\"]\nresources: {cpu: 1.., memory: 0.1GB.., disk: 0.1GB..}\n";
    let file = cli.write("pair.dstack.yml", yaml)?;
    cli.run(&["apply", "-f", &file, "-y", "-d"]).await?;
    let mut attach = start(cli, &["attach", "pair", "--job", "1", "--logs"])?;
    says(cli, "Attached: ssh pair-1-0").await?;
    says(cli, "rank 1 tick 1").await?;
    let reached = async || Ok(cli.run(&["logs", "pair"]).await?.contains("reached rank 1"));
    wait_for("one node reaches the other", reached).await?;
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

async fn run(program: &str, args: &[&str]) -> Result<String> {
    let mut command = tokio::process::Command::new(program);
    let out = command.args(args).stdin(Stdio::null()).output().await;
    let out = out.with_context(|| format!("running {program}"))?;
    ensure!(out.status.success(), "{program} {args:?}: {}", text(&out));
    Ok(text(&out))
}

#[tokio::test(flavor = "multi_thread")]
async fn rsync_and_an_ide_do_with_an_environment_what_they_do_with_any_host() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lab = Lab::start(folder.path(), 1).await?;
    let cli = &lab.clis[0];
    let yaml = "type: dev-environment\nname: dev\nimage: debian:12\nide: vscode\nresources: {cpu: 1.., memory: 0.1GB.., disk: 0.1GB..}\n";
    let file = cli.write("dev.dstack.yml", yaml)?;
    let _apply = start(cli, &["apply", "-f", &file, "-y"])?;
    says(cli, "Attached: ssh dev").await?;
    let config = cli.home().join(".dstack/ssh/config");
    let shell = format!("ssh -F {}", config.display());

    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    std::fs::create_dir_all(there.join("deep"))?;
    std::fs::write(there.join("deep/file with a space"), b"first")?;
    std::fs::write(there.join("large"), vec![7; 3 << 20])?;
    let source = format!("{}/", there.display());
    let sync = ["-a", "--delete", "-e", &shell, &source, "dev:synced/"];
    run("rsync", &sync).await?;
    std::fs::write(there.join("deep/file with a space"), b"second")?;
    std::fs::remove_file(there.join("large"))?;
    run("rsync", &sync).await?;
    let target = format!("{}/", back.display());
    run("rsync", &["-a", "-e", &shell, "dev:synced/", &target]).await?;
    ensure!(std::fs::read(back.join("deep/file with a space"))? == b"second");
    ensure!(!back.join("large").exists(), "what was deleted came back");
    ide_handshake(&config).await?;
    cli.run(&["stop", "dev", "-x", "-y"]).await?;
    Ok(())
}

/// What VS Code's Remote-SSH does: a shell script on the standard input of `sh` starts a server that outlives it and
/// tells its port between two markers; the IDE reaches that port through the session's dynamic forward.
async fn ide_handshake(config: &std::path::Path) -> Result<()> {
    let socks = free_port(Ipv4Addr::LOCALHOST)?;
    let script = r#"
        echo "f00d: running"
        cd "$(mktemp -d)" && uname -s >platform
        nohup python3 -u -c '
import http.server
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_port)
server.serve_forever()
' >port 2>log </dev/null &
        until test -s port; do sleep 0.1; done
        echo "f00d: start"; echo "listeningOn==$(cat port)=="; echo "platform==$(cat platform)=="; echo "f00d: end"
        cat
    "#;
    let mut ide = tokio::process::Command::new("ssh")
        .arg("-F")
        .arg(config)
        .args(["-T", "-D", &socks.to_string(), "-o", "ConnectTimeout=15"])
        .args(["dev", "sh"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = ide.stdin.take().context("its input")?;
    // One line for the shell: the rest of the input stays open, as the IDE leaves it.
    input
        .write_all(format!("sh -c '{}'\n", script.replace('\'', r"'\''")).as_bytes())
        .await?;
    let mut lines = BufReader::new(ide.stdout.take().context("its output")?).lines();
    let mut told = Vec::new();
    while let Some(line) = tokio::time::timeout(PATIENCE, lines.next_line()).await?? {
        let end = line == "f00d: end";
        told.push(line);
        if end {
            break;
        }
    }
    ensure!(told.contains(&"platform==Linux==".to_owned()), "{told:?}");
    let port = told
        .iter()
        .find_map(|line| line.strip_prefix("listeningOn==")?.strip_suffix("=="));
    let port: u16 = port.context("no port was told")?.parse()?;
    for _ in 0..3 {
        let answer = through_socks(socks, port, "/platform").await?;
        ensure!(answer.ends_with("Linux\n"), "{answer}");
    }
    Ok(())
}

/// One request by way of a SOCKS5 proxy (RFC 1928, without authentication).
async fn through_socks(socks: u16, port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, socks)).await?;
    stream.write_all(&[5, 1, 0]).await?;
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await?;
    ensure!(greeting == [5, 0], "{greeting:?}");
    let [high, low] = port.to_be_bytes();
    stream
        .write_all(&[5, 1, 0, 1, 127, 0, 0, 1, high, low])
        .await?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await?;
    ensure!(reply[1] == 0, "the port is not reached: {reply:?}");
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
