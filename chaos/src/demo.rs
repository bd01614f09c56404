//! `make demo`: the promise of the project, shown in a minute on one machine.
//!
//! Three replicas, two hosts behind real sshd, a task on both hosts, its log followed through a
//! follower while the leader is killed; then a table of what happened.

use crate::lab::{Binaries, Cli, Cluster, Host, current_user, keygen};
use crate::logs_check::gapless;
use crate::prober::{Attempt, Prober, longest_pause};
use crate::table;
use anyhow::{Context, Result, bail};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Slices each rank of `examples/pi.dstack.yml` prints.
const SLICES: usize = 120;
/// The leader is killed once this slice of the master was seen.
const KILL_AT: &str = "rank 0 slice 030";
/// The whole demo, generously.
const LIMIT: Duration = Duration::from_secs(180);

const FLEET: &str = include_str!("../../examples/fleet.dstack.yml");
const TASK: &str = include_str!("../../examples/pi.dstack.yml");

/// Runs the demo; with `keep` the cluster stays up until Ctrl-C.
pub async fn demo(keep: bool) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("dstack-demo-")
        .tempdir()
        .context("a folder for the demo")?;
    tokio::time::timeout(LIMIT, play(folder.path(), keep))
        .await
        .context("the demo took too long")?
}

/// What the demo plays with.
struct Stage {
    cluster: Cluster,
    /// Asks a follower only.
    cli: Cli,
    /// Index of the replica that leads at first, and will be killed.
    leader: usize,
    /// Name of the follower that is asked.
    via: String,
    _hosts: Vec<Host>,
}

async fn play(folder: &Path, keep: bool) -> Result<()> {
    let mut stage = open(folder).await?;
    for file in ["fleet.dstack.yml", "pi.dstack.yml"] {
        let detach: &[&str] = if file == "pi.dstack.yml" {
            &["-d"]
        } else {
            &[]
        };
        let args = [&["apply", "-f", file, "-y"], detach].concat();
        say(&format!("dstack {}", args.join(" ")));
        println!("{}", stage.cli.run(&args).await?);
    }
    let urls = stage.cluster.urls().into_iter().enumerate();
    let survivors = urls
        .filter(|(at, _)| *at != stage.leader)
        .map(|(_, url)| url)
        .collect();
    let prober = Prober::start(survivors, stage.cluster.token.clone());
    say(&format!("dstack logs -f pi   (through {})", stage.via));
    let (log, killed) = follow_and_kill(&stage.cli, &mut stage.cluster, stage.leader).await?;
    prober.wait_acknowledged(1).await;
    let attempts = prober.finish().await?;
    tell(
        &mut stage,
        &log,
        &attempts,
        longest_pause(&attempts, killed),
    )
    .await?;
    if let Some(error) = attempts.iter().find_map(|one| one.error.clone()) {
        bail!("a write failed during the failover: {error}");
    }
    if keep {
        stay(&stage.cli, &mut stage.cluster, stage.leader).await?;
    }
    Ok(())
}

/// Hosts, replicas, a CLI with a home of its own, and the two configurations in it.
async fn open(folder: &Path) -> Result<Stage> {
    let binaries = Binaries::find()?;
    say("starting two hosts (sshd on 127.0.0.11 and 127.0.0.12) and three replicas");
    let key = folder.join("id_ed25519");
    keygen(&key)?;
    let hosts = start_hosts(folder, &key).await?;
    let mut cluster = Cluster::start(folder, 3, &binaries, &[]).await?;
    let leader = cluster.wait_leader(Duration::from_secs(30)).await?;
    let follower = cluster.follower().await?;
    let via = cluster.replicas[follower].plan.name.clone();
    let led = &cluster.replicas[leader].plan.name;
    say(&format!(
        "{led} leads; everything below is asked of {via}, a follower"
    ));
    let cli = Cli::new(
        &binaries,
        &folder.join("home"),
        &[cluster.replicas[follower].url()],
        &cluster.token,
    )?;
    let fleet = fleet_yaml(&key, hosts[0].port);
    for (name, yaml) in [
        ("fleet.dstack.yml", fleet.as_str()),
        ("pi.dstack.yml", TASK),
    ] {
        std::fs::write(cli.home().join(name), yaml).with_context(|| format!("writing {name}"))?;
    }
    Ok(Stage {
        cluster,
        cli,
        leader,
        via,
        _hosts: hosts,
    })
}

/// Judges both logs and the run, and prints the table.
async fn tell(stage: &mut Stage, log: &str, attempts: &[Attempt], pause: Duration) -> Result<()> {
    gapless(log.lines(), "rank 0 slice ", SLICES).context("the log of the master")?;
    let worker = stage.cli.run(&["logs", "pi", "--job", "1"]).await?;
    gapless(worker.lines(), "rank 1 slice ", SLICES).context("the log of the second node")?;
    let result = log
        .lines()
        .find(|line| line.starts_with("pi is about"))
        .context("the task printed no result")?;
    let status = wait_done(&stage.cli).await?;
    let now = stage.cluster.wait_leader(Duration::from_secs(10)).await?;
    println!("{}", stage.cli.run(&["ps", "-a"]).await?);
    let name = |at: usize| stage.cluster.replicas[at].plan.name.clone();
    let failed = attempts.iter().filter(|one| one.error.is_some()).count();
    let whole = format!(
        "{SLICES} + {SLICES}, none lost, none twice (followed through {})",
        stage.via
    );
    table::print(
        "What happened",
        &[
            (
                "led first",
                format!(
                    "{} (killed with SIGKILL while the task ran)",
                    name(stage.leader)
                ),
            ),
            ("took over", name(now)),
            ("writes paused", format!("{} ms", pause.as_millis())),
            (
                "writes in that time",
                format!("{} sent, {failed} failed", attempts.len()),
            ),
            ("log lines", whole),
            ("result", result.to_owned()),
            ("run", status),
        ],
    );
    Ok(())
}

async fn start_hosts(folder: &Path, key: &Path) -> Result<Vec<Host>> {
    let authorized = key.with_extension("pub");
    let first = Host::start(
        &folder.join("host-11"),
        Ipv4Addr::new(127, 0, 0, 11),
        None,
        &authorized,
    )
    .await?;
    let second = Host::start(
        &folder.join("host-12"),
        Ipv4Addr::new(127, 0, 0, 12),
        Some(first.port),
        &authorized,
    )
    .await?;
    Ok(vec![first, second])
}

fn fleet_yaml(key: &Path, port: u16) -> String {
    let user = current_user();
    FLEET
        .replace("user: ubuntu", &format!("user: {user}"))
        .replace("port: 22", &format!("port: {port}"))
        .replace("~/.ssh/id_ed25519", &key.display().to_string())
}

/// Follows the master's log to its end; kills the leader on the way. Returns the log and the moment.
async fn follow_and_kill(
    cli: &Cli,
    cluster: &mut Cluster,
    leader: usize,
) -> Result<(String, Instant)> {
    let mut child = cli
        .command(&["logs", "-f", "pi"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("starting dstack logs -f")?;
    let out = child.stdout.take().context("the log has no pipe")?;
    let mut lines = BufReader::new(out).lines();
    let mut log = String::new();
    let mut killed = None;
    while let Some(line) = lines.next_line().await.context("reading the log")? {
        if killed.is_none() && line.starts_with(KILL_AT) {
            say(&format!(
                "kill -9 of {}, the leader",
                cluster.replicas[leader].plan.name
            ));
            killed = Some(Instant::now());
            cluster.replicas[leader].kill()?;
        }
        if line.contains("0 partial") || !line.contains("slice") || line.contains("slice 03") {
            println!("  {line}");
        }
        log.push_str(&line);
        log.push('\n');
    }
    let status = child.wait().await.context("waiting for dstack logs")?;
    if !status.success() {
        bail!("dstack logs -f ended with {status}");
    }
    let killed = killed.with_context(|| format!("the log ended before `{KILL_AT}`:\n{log}"))?;
    Ok((log, killed))
}

async fn wait_done(cli: &Cli) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = cli.run(&["run", "get", "pi", "--json"]).await?;
        let run: serde_json::Value =
            serde_json::from_str(&text).context("dstack run get printed no JSON")?;
        let status = run["status"].as_str().unwrap_or_default().to_owned();
        match status.as_str() {
            "done" => {
                let exit = &run["latest_job_submission"]["exit_status"];
                return Ok(format!("done, exit status {exit}"));
            }
            "failed" | "terminated" => bail!("the run ended as {status}: {text}"),
            _ if Instant::now() > deadline => bail!("the run is still {status}"),
            _ => crate::lab::pause().await,
        }
    }
}

async fn stay(cli: &Cli, cluster: &mut Cluster, killed: usize) -> Result<()> {
    cluster.replicas[killed].start()?;
    println!("\nThe cluster stays up until Ctrl-C. In another shell:");
    println!("  {}", cli.exports());
    for next in [
        "dstack ps -a",
        "dstack fleet -v",
        "dstack cluster status",
        "dstack event",
        "dstack logs pi --job 1",
    ] {
        println!("  {next}");
    }
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
}

fn say(text: &str) {
    println!("\n==> {text}");
}
