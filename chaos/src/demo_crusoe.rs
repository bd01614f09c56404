//! `make demo-crusoe`: a GPU cluster that exists only while a run needs it, in a simulated cloud with real machines.
//!
//! Three replicas, a `nodes: 0..4` fleet, a task of four nodes that prints what each rank sees, the leader killed while
//! the machines are being made, then nothing: no machine, no disk, no partition, and the bill.

use crate::lab::{Binaries, Cli, Cloud, Cluster, pause};
use crate::table;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(600);
const NODES: usize = 4;
const FLEET: &str = include_str!("../../examples/gpu-cluster.dstack.yml");
const TASK: &str = include_str!("../../examples/ranks.dstack.yml");
/// Nobody is to wait five minutes for the end of a demo.
const IDLE: (&str, &str) = ("idle_duration: 5m", "idle_duration: 10s");

/// Runs the demo.
pub async fn demo() -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("dstack-demo-")
        .tempdir()
        .context("a folder for the demo")?;
    tokio::time::timeout(LIMIT, play(folder.path()))
        .await
        .context("the demo took too long")?
}

async fn play(folder: &Path) -> Result<()> {
    let binaries = Binaries::find()?;
    say("starting a simulated cloud and three replicas");
    let slow = ["--boot-ms", "4000", "--lag-ms", "500"];
    let cloud = Cloud::with_machines(folder, &binaries, &slow).await?;
    let mut cluster = Cluster::start(folder, 3, &binaries, &[]).await?;
    let leader = cluster.wait_leader(Duration::from_secs(30)).await?;
    let urls = cluster.urls();
    let cli = Cli::new(&binaries, &folder.join("home"), &urls, &cluster.token)?;
    cloud.introduce(&cli).await?;
    show(&cli, &["offer", "-b", "crusoe", "--gpu", "H100:8"]).await?;
    let fleet = cli.write("gpu-cluster.dstack.yml", &FLEET.replace(IDLE.0, IDLE.1))?;
    let task = cli.write("ranks.dstack.yml", TASK)?;
    show(&cli, &["apply", "-y", "-f", &fleet]).await?;
    show(&cli, &["apply", "-y", "-d", "-f", &task]).await?;
    wait(&cli, "a machine that is being made", |fleet| {
        instances(fleet)
            .iter()
            .any(|one| one["status"] == "provisioning")
    })
    .await?;
    let name = cluster.replicas[leader].plan.name.clone();
    say(&format!(
        "kill -9 of {name}, the leader, while machines are being made"
    ));
    cluster.replicas[leader].kill()?;
    let killed = Instant::now();
    show(&cli, &["fleet", "-v"]).await?;
    let ranks = ranks(&cli).await?;
    let ready = killed.elapsed();
    cluster.replicas[leader].start()?;
    show(&cli, &["leaks"]).await?;
    say("nobody needs the machines any more");
    wait(&cli, "an empty fleet", |fleet| instances(fleet).is_empty()).await?;
    let proof = wait_proof(&cli).await?;
    let words = cloud.stop().await?;
    if words.made != NODES as u64 || words.left != [0, 0, 0] {
        bail!("{NODES} machines were asked for; the cloud says {words:?}");
    }
    let took = format!("{} s after the kill", ready.as_secs());
    table::print(
        "What happened",
        &[
            (
                "killed",
                format!("{name}, by SIGKILL, while machines were being made"),
            ),
            ("task ended", took),
            ("ranks", ranks.join("\n")),
            ("machines made", format!("{}, none twice", words.made)),
            (
                "left behind",
                "no machine, no disk, no partition".to_owned(),
            ),
            ("dstack leaks", proof),
            ("bill", words.bill),
        ],
    );
    Ok(())
}

/// What each rank printed, after all of them have ended well.
async fn ranks(cli: &Cli) -> Result<Vec<String>> {
    let deadline = Instant::now() + Duration::from_secs(240);
    loop {
        let text = cli.run(&["run", "get", "ranks", "--json"]).await?;
        let run: Value = serde_json::from_str(&text).context("dstack run get printed no JSON")?;
        match run["status"].as_str().unwrap_or_default() {
            "done" => break,
            status @ ("failed" | "terminated") => bail!("the run ended as {status}: {text}"),
            status if Instant::now() > deadline => bail!("the run is still {status}: {text}"),
            _ => pause().await,
        }
    }
    let mut ranks = Vec::new();
    for job in 0..NODES {
        let log = cli
            .run(&["logs", "ranks", "--job", &job.to_string()])
            .await?;
        let line = log.lines().find(|line| line.starts_with("rank "));
        ranks.push(
            line.with_context(|| format!("rank {job} printed {log}"))?
                .to_owned(),
        );
    }
    let partition = |line: &String| line.split("partition ").nth(1).map(str::to_owned);
    let first = partition(&ranks[0]);
    let whole = ranks
        .iter()
        .all(|line| line.contains("8 GPUs, 8 adapters") && partition(line) == first);
    if !whole || first.is_none() {
        bail!("the ranks do not see one cluster: {ranks:?}");
    }
    Ok(ranks)
}

/// Looks at the fleet until it is so.
async fn wait(cli: &Cli, what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let text = cli.run(&["fleet", "get", "gpu-cluster", "--json"]).await?;
        let fleet: Value =
            serde_json::from_str(&text).context("dstack fleet get printed no JSON")?;
        if holds(&fleet) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("waited for {what} in vain: {text}");
        }
        pause().await;
    }
}

fn instances(fleet: &Value) -> &[Value] {
    fleet["instances"].as_array().map_or(&[], Vec::as_slice)
}

/// The last line of `dstack leaks`, once nothing is on record and nothing in the account.
async fn wait_proof(cli: &Cli) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let said = cli.run(&["leaks"]).await?;
        let last = said.lines().last().unwrap_or_default();
        if last.starts_with("0 in the account, 0 on record") {
            return Ok(last.to_owned());
        }
        if Instant::now() > deadline {
            bail!("something is left: {said}");
        }
        pause().await;
    }
}

async fn show(cli: &Cli, args: &[&str]) -> Result<()> {
    say(&format!("dstack {}", args.join(" ")));
    println!("{}", cli.run(args).await?);
    Ok(())
}

fn say(text: &str) {
    println!("\n==> {text}");
}
