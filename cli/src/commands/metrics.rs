//! `dstack metrics`.

use super::refused;
use crate::args::Metrics;
use crate::failure::Outcome;
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_api::http::metrics::{GetJobMetrics, JobMetrics};
use serde_json::json;
use std::time::Duration;

const REFRESH: Duration = Duration::from_secs(10);
/// Points that are asked for; the table shows the latest.
const POINTS: u32 = 1;

/// Once, or until interrupted.
pub async fn metrics(args: Metrics) -> Outcome {
    let project = super::connect(&args.common)?;
    loop {
        let jobs = read(&project, &args).await?;
        if args.json {
            let all: Vec<_> = jobs
                .iter()
                .map(|((replica, job), found)| {
                    json!({"replica_num": replica, "job_num": job, "metrics": found.metrics})
                })
                .collect();
            ui::json(&json!({"project": project.name(), "run": args.run, "jobs": all}));
        } else {
            if args.watch {
                ui::redraw();
            }
            ui::metrics::table(&jobs).print();
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(REFRESH).await;
    }
}

type Jobs = Vec<((u32, u32), JobMetrics)>;

async fn read(project: &ProjectClient, args: &Metrics) -> Outcome<Jobs> {
    let run = project.get_run_by_name(&args.run).await.map_err(refused)?;
    let mut jobs = Vec::new();
    for job in &run.jobs {
        let place = (job.job_spec.replica_num, job.job_spec.job_num);
        let wanted = args.replica.is_none_or(|replica| replica == place.0)
            && args.job.is_none_or(|job| job == place.1);
        if !wanted {
            continue;
        }
        let request = GetJobMetrics {
            run_id: Some(run.id),
            replica_num: place.0,
            job_num: place.1,
            limit: if args.json { 1000 } else { POINTS },
            after: None,
            before: None,
        };
        let found = project.get_job_metrics(&args.run, &request).await;
        jobs.push((place, found.map_err(refused)?));
    }
    Ok(jobs)
}
