//! `dstack cluster …`.

use crate::args::{Cluster, ClusterCommand};
use crate::failure::Outcome;
use crate::ui;
use jiff::Timestamp;

/// Any replica answers, with or without a leader.
pub async fn cluster(args: Cluster) -> Outcome {
    let project = super::connect(&args.common)?;
    match args.command {
        ClusterCommand::Status { json } => {
            let status = project
                .client()
                .cluster_status()
                .await
                .map_err(super::refused)?;
            if json {
                ui::json(&status);
            } else {
                ui::data(&ui::cluster::headline(&status, Timestamp::now()));
                ui::cluster::members(&status).print();
            }
        }
    }
    Ok(())
}
