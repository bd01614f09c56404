//! This machine as a source of machines: the contract, kept by real agents.

use anyhow::{Context, Result, ensure};
use dstack_backends::local::Local;
use dstack_backends::{Backend, Key, Plan, contract};
use dstack_chaos::lab::Binaries;
use dstack_domain::model::InstanceOffer;
use std::path::Path;

const OWNER: &str = "cluster-a";

async fn offer(local: &Local) -> Result<InstanceOffer> {
    let wanted = serde_json::from_value(serde_json::json!({
        "resources": {"cpu": {"count": {"min": 1}}, "memory": {"min": 0.1}, "disk": null},
    }))?;
    let offers = local.offers(&wanted).await.done();
    let offer = offers.context("offers")?.into_iter().next();
    offer.context("this machine is not offered")
}

fn agents_below(root: &Path) -> usize {
    dstack_chaos::lab::agents::agents_of(root).map_or(0, |found| found.len())
}

#[tokio::test]
async fn this_machine_keeps_the_contract_of_every_source_of_machines() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("local-").tempdir()?;
    let agent = Binaries::find()?.agent;
    let local = Local::new(OWNER, folder.path().to_owned(), agent.clone());
    let offer = offer(&local).await?;
    ensure!(offer.instance.resources.cpus > 0, "{offer:?}");
    let plan = Plan::default();
    let key = Key::new("run-1-0").context("a key")?;
    let broken = contract::check(&local, OWNER, &key, &offer, &plan).await;
    ensure!(broken.is_empty(), "{broken:?}");
    ensure!(agents_below(folder.path()) == 0, "an agent was left behind");

    // Another server process finds what the one before made, and strangers cannot end it.
    let made = local
        .create(&key, &offer, &plan)
        .await
        .done()
        .context("made")?;
    ensure!(
        agents_below(folder.path()) == 1,
        "one agent for one machine"
    );
    let later = Local::new(OWNER, folder.path().to_owned(), agent.clone());
    ensure!(later.find(&key).await.done() == Some(made), "found again");
    let stranger = Local::new("cluster-b", folder.path().to_owned(), agent);
    ensure!(
        stranger.terminate(&key).await.done().is_none(),
        "ended by a stranger"
    );
    ensure!(
        stranger.create(&key, &offer, &plan).await.done().is_none(),
        "taken by a stranger"
    );
    ensure!(later.terminate(&key).await.done().is_some(), "ended");
    ensure!(agents_below(folder.path()) == 0, "an agent was left behind");
    Ok(())
}
