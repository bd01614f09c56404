//! Machines in a simulated cloud, made by real replicas: the ways in which they are lost elsewhere, and one storm.

use crate::wait::wait_for;
use anyhow::{Context, Result, ensure};
use dstack_chaos::clouds::{CloudLab, empty, settled};
use dstack_chaos::lab::{Binaries, Cli, Cloud, Cluster, Truth, pause};
use std::path::Path;
use std::time::{Duration, Instant};

const INSTANCES: &str = "projects/sim/compute/vms/instances";

async fn apply(lab: &CloudLab, name: &str, rest: &str) -> Result<()> {
    let yaml = format!("type: fleet\nname: {name}\nnodes: 1\n{rest}");
    let file = lab.cli.write(&format!("{name}.dstack.yml"), &yaml)?;
    lab.cli
        .run(&["apply", "-y", "-d", "-f", &file])
        .await
        .map(drop)
}

/// Deletes the fleet; at every look, whatever is in the account must be on record.
async fn delete_watched(lab: &CloudLab, name: &str) -> Result<()> {
    let mut child = lab.cli.command(&["fleet", "delete", "-y", name]).spawn()?;
    lab.until("nothing is left", |leaks| {
        let things = leaks["things"].as_array().cloned().unwrap_or_default();
        assert!(
            things.iter().all(|thing| thing["verdict"] != "leaked"),
            "{leaks}"
        );
        empty(leaks)
    })
    .await?;
    ensure!(lab.cloud.truth().await?.is_empty());
    let status = child
        .wait()
        .await
        .context("waiting for dstack fleet delete")?;
    ensure!(status.success(), "dstack fleet delete ended with {status}");
    Ok(())
}

async fn wait_truth(lab: &CloudLab, holds: impl Fn(&Truth) -> bool) -> Result<Truth> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let truth = lab.cloud.truth().await?;
        if holds(&truth) {
            return Ok(truth);
        }
        ensure!(Instant::now() < deadline, "the cloud stays at {truth:?}");
        pause().await;
    }
}

/// The four leaks known from elsewhere, one after the other in one lab.
#[tokio::test(flavor = "multi_thread")]
async fn four_known_leaks_do_not_leak() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut lab = CloudLab::start(folder.path()).await?;
    error_while_it_goes(&lab).await?;
    lost_answer(&lab).await?;
    crash_while_it_comes(&mut lab).await?;
    disk_that_stays(&lab).await
}

/// Elsewhere a 503 for a machine that is being ended is read as its end.
async fn error_while_it_goes(lab: &CloudLab) -> Result<()> {
    apply(lab, "one", "resources:\n  gpu: H100:8\n").await?;
    lab.until("the machine is there", |leaks| {
        settled(leaks) && !empty(leaks)
    })
    .await?;
    lab.cloud
        .plan(&format!("GET /{INSTANCES}"), "error_before", 6)
        .await?;
    delete_watched(lab, "one").await
}

/// Elsewhere a machine whose making was not answered is forgotten, and made again.
async fn lost_answer(lab: &CloudLab) -> Result<()> {
    let before = lab.cloud.truth().await?.made.len();
    lab.cloud
        .plan(&format!("POST /{INSTANCES}"), "lost_answer", 1)
        .await?;
    apply(lab, "two", "resources:\n  gpu: H100:8\n").await?;
    lab.until("the machine is there", |leaks| {
        settled(leaks) && !empty(leaks)
    })
    .await?;
    ensure!(lab.cloud.truth().await?.made.len() == before + 1);
    delete_watched(lab, "two").await
}

/// Elsewhere whoever dies while a machine is being made takes the knowledge of it along.
async fn crash_while_it_comes(lab: &mut CloudLab) -> Result<()> {
    let before = lab.cloud.truth().await?.made.len();
    let leader = lab.cluster.wait_leader(Duration::from_secs(30)).await?;
    apply(lab, "three", "resources:\n  gpu: H100:8\n").await?;
    wait_truth(lab, |truth| truth.made.len() > before).await?;
    lab.cluster.replicas[leader].kill()?;
    lab.until("the machine is there", |leaks| {
        settled(leaks) && !empty(leaks)
    })
    .await?;
    ensure!(lab.cloud.truth().await?.made.len() == before + 1);
    lab.cluster.replicas[leader].start()?;
    delete_watched(lab, "three").await
}

/// Elsewhere a disk is deleted once, whatever comes of it.
async fn disk_that_stays(lab: &CloudLab) -> Result<()> {
    apply(lab, "four", "resources:\n  gpu: L40S:1\n").await?;
    lab.until("the machine is there", |leaks| {
        settled(leaks) && !empty(leaks)
    })
    .await?;
    ensure!(lab.cloud.truth().await?.disks.len() == 1);
    lab.cloud
        .plan("DELETE /projects/sim/storage/disks", "error_before", 3)
        .await?;
    delete_watched(lab, "four").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_leaves_nothing_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut lab = CloudLab::start(folder.path()).await?;
    for seed in 1..=2 {
        println!("{}", lab.round(seed).await?);
    }
    Ok(())
}

/// Somebody stops a machine and starts it again: its address is another one, its jobs' place the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_another_address_is_found_again() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        println!("real machines need root; skipped");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let lab = CloudLab::with_machines(folder.path()).await?;
    apply(&lab, "moving", "resources:\n  gpu: H100:8\n").await?;
    let before = wait_idle(&lab, "moving", |_| true).await?;
    lab.cloud.act("moving", "STOP").await?;
    lab.cloud.act("moving", "START").await?;
    let after = wait_idle(&lab, "moving", |hostname| hostname != before).await?;
    ensure!(after != before);
    let yaml =
        "type: task\nname: here\ncommands:\n  - nvidia-smi -L | wc -l\nresources:\n  gpu: H100:8\n";
    let file = lab.cli.write("here.dstack.yml", yaml)?;
    let said = lab.cli.run(&["apply", "-y", "-f", &file]).await?;
    ensure!(said.contains('8'), "{said}");
    delete_watched(&lab, "moving").await
}

/// The host name of the fleet's one machine, once it is idle, can be reached, and is as wanted.
async fn wait_idle(lab: &CloudLab, name: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let text = lab.cli.run(&["fleet", "get", name, "--json"]).await?;
        let fleet: serde_json::Value = serde_json::from_str(&text)?;
        let one = &fleet["instances"][0];
        let hostname = one["hostname"].as_str().unwrap_or_default();
        if one["status"] == "idle" && one["unreachable"] == false && wanted(hostname) {
            return Ok(hostname.to_owned());
        }
        ensure!(Instant::now() < deadline, "the machine stays {one}");
        pause().await;
    }
}

/// Upstream's `server/config.yml`: read by every replica, brought into the log once, followed when it changes.
#[tokio::test(flavor = "multi_thread")]
async fn the_servers_file_makes_projects_and_backends() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let binaries = Binaries::find()?;
    let cloud = Cloud::start(folder.path(), &binaries, &[]).await?;
    let listed = cloud.backend().replace('\n', "\n    ");
    let listed = format!("projects:\n- name: main\n  backends:\n  - {listed}\n- name: research\n");
    for name in ["n1", "n2", "n3"] {
        write_config(&folder.path().join(name), &listed)?;
    }
    let mut cluster = Cluster::start(folder.path(), 3, &binaries, &[]).await?;
    let home = folder.path().join("home");
    let cli = Cli::new(&binaries, &home, &cluster.urls(), &cluster.token)?;
    let known = async || cli.run(&["backend", "list"]).await;
    wait_for("the backend is known", async || {
        Ok(known().await?.contains("crusoe"))
    })
    .await?;
    cli.run(&["backend", "test", "crusoe"]).await?;
    let research = async || {
        let said = cli
            .command(&["fleet"])
            .env("DSTACK_PROJECT", "research")
            .output();
        Ok(said.await?.status.success())
    };
    wait_for("the project is made", research).await?;
    write_config(
        &folder.path().join("n1"),
        "projects:\n- name: main\n  backends: []\n",
    )?;
    cluster.replicas[0].kill()?;
    cluster.replicas[0].start()?;
    wait_for("the backend is gone", async || {
        Ok(!known().await?.contains("crusoe"))
    })
    .await
}

fn write_config(folder: &Path, text: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("config.yml"), text).context("writing config.yml")
}
