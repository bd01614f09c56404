//! Hosts that cannot be reached say why; fleets are changed in place.

use anyhow::{Context, Result, ensure};
use dstack_chaos::lab::{Binaries, Cli, Cluster, Host, current_user, keygen};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

struct Setting {
    _cluster: Cluster,
    cli: Cli,
    key: std::path::PathBuf,
    folder: tempfile::TempDir,
}

async fn setting() -> Result<Setting> {
    let folder = tempfile::tempdir()?;
    let binaries = Binaries::find()?;
    let key = folder.path().join("id_ed25519");
    keygen(&key)?;
    let cluster = Cluster::start(folder.path(), 1, &binaries, &[]).await?;
    let cli = Cli::new(
        &binaries,
        &folder.path().join("home"),
        &cluster.urls(),
        &cluster.token,
    )?;
    Ok(Setting {
        _cluster: cluster,
        cli,
        key,
        folder,
    })
}

fn fleet(key: &Path, hosts: &[&Host]) -> String {
    let user = current_user();
    let mut yaml = format!(
        "type: fleet\nname: lab\nssh_config:\n  user: {user}\n  identity_file: {}\n  hosts:\n",
        key.display()
    );
    for host in hosts {
        yaml.push_str(&format!(
            "    - hostname: {}\n      port: {}\n",
            host.address, host.port
        ));
    }
    yaml
}

async fn apply(cli: &Cli, yaml: &str, more: &[&str]) -> Result<()> {
    let path = cli.home().join("fleet.dstack.yml");
    std::fs::write(&path, yaml).context("writing a fleet")?;
    let path = path.display().to_string();
    cli.run(&[&["apply", "-f", &path, "-y"], more].concat())
        .await
        .map(drop)
}

/// Waits until `dstack fleet -v` or the fleet's events say `words`.
async fn told(cli: &Cli, words: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let table = cli.run(&["fleet", "-v"]).await?;
        let events = cli.run(&["event", "--within-fleet", "lab"]).await?;
        if table.contains(words) || events.contains(words) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "nothing says `{words}`:\n{table}\n{events}"
        );
        dstack_chaos::lab::pause().await;
    }
}

async fn wait_instances(cli: &Cli, statuses: &[&str]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = cli.run(&["fleet", "get", "lab", "--json"]).await?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        let seen: Vec<&str> = value["instances"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["status"].as_str())
            .collect();
        if seen == statuses {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "instances are {seen:?} and not {statuses:?}:\n{text}"
        );
        dstack_chaos::lab::pause().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_host_says_why_and_is_taken_in_when_it_comes() -> Result<()> {
    let set = setting().await?;
    let place = set.folder.path().join("host");
    let mut host = Host::start(
        &place,
        Ipv4Addr::new(127, 0, 2, 11),
        None,
        &set.key.with_extension("pub"),
    )
    .await?;
    host.close();
    apply(&set.cli, &fleet(&set.key, &[&host]), &["-d"]).await?;
    told(&set.cli, "refuses connections").await?;
    host.open().await?;
    wait_instances(&set.cli, &["idle"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_apart() -> Result<()> {
    let set = setting().await?;
    let other = set.folder.path().join("other");
    keygen(&other)?;
    let place = set.folder.path().join("host");
    let host = Host::start(
        &place,
        Ipv4Addr::new(127, 0, 2, 12),
        None,
        &other.with_extension("pub"),
    )
    .await?;
    apply(&set.cli, &fleet(&set.key, &[&host]), &["-d"]).await?;
    told(&set.cli, "key").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_key_is_refused_and_the_host_is_kept() -> Result<()> {
    let set = setting().await?;
    let place = set.folder.path().join("host");
    let mut host = Host::start(
        &place,
        Ipv4Addr::new(127, 0, 2, 13),
        None,
        &set.key.with_extension("pub"),
    )
    .await?;
    apply(&set.cli, &fleet(&set.key, &[&host]), &[]).await?;
    wait_instances(&set.cli, &["idle"]).await?;
    host.power_off();
    host.change_host_key()?;
    host.open().await?;
    told(&set.cli, "host key").await?;
    let text = set.cli.run(&["fleet", "get", "lab", "--json"]).await?;
    ensure!(
        !text.contains("\"terminated\""),
        "an on-prem host was dropped:\n{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_added_and_removed_in_place() -> Result<()> {
    let set = setting().await?;
    let public = set.key.with_extension("pub");
    let first = Host::start(
        &set.folder.path().join("a"),
        Ipv4Addr::new(127, 0, 2, 14),
        None,
        &public,
    )
    .await?;
    let second = Host::start(
        &set.folder.path().join("b"),
        Ipv4Addr::new(127, 0, 2, 15),
        None,
        &public,
    )
    .await?;
    apply(&set.cli, &fleet(&set.key, &[&first]), &[]).await?;
    wait_instances(&set.cli, &["idle"]).await?;
    apply(&set.cli, &fleet(&set.key, &[&first, &second]), &[]).await?;
    wait_instances(&set.cli, &["idle", "idle"]).await?;
    apply(&set.cli, &fleet(&set.key, &[&second]), &["-d"]).await?;
    wait_instances(&set.cli, &["idle"]).await?;
    set.cli.run(&["fleet", "delete", "lab", "-y"]).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while set
        .cli
        .output(&["fleet", "get", "lab"])
        .await?
        .status
        .success()
    {
        ensure!(Instant::now() < deadline, "the fleet is still there");
        dstack_chaos::lab::pause().await;
    }
    Ok(())
}
