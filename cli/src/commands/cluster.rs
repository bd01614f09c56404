//! `dstack cluster …`.

use crate::args::{Cluster, ClusterCommand};
use crate::failure::Outcome;
use crate::ui;
use dstack_api::http::cluster::ClusterStatus;
use jiff::Timestamp;

/// Any replica answers; `status` even without a leader.
pub async fn cluster(args: Cluster) -> Outcome {
    let project = super::connect(&args.common)?;
    let client = project.client();
    let status = match args.command {
        ClusterCommand::Status { json: true } => {
            ui::json(&client.cluster_status().await.map_err(super::refused)?);
            return Ok(());
        }
        ClusterCommand::Status { json: false } => client.cluster_status().await,
        ClusterCommand::Add { name, address } => client.cluster_add(&name, &address).await,
        ClusterCommand::Promote { name } => client.cluster_promote(&name).await,
        ClusterCommand::Remove { name, yes } => {
            ui::agree(yes, &format!("Remove the replica {name} for good?"))?;
            client.cluster_remove(&name).await
        }
    };
    show(&status.map_err(super::refused)?);
    Ok(())
}

fn show(status: &ClusterStatus) {
    ui::data(&ui::cluster::headline(status, Timestamp::now()));
    ui::cluster::members(status).print();
}
