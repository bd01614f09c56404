//! The judgement after the heal: every acknowledged run is there and done, every job ran once, every
//! log is whole on every replica, every client operation finished.

use crate::lab::{Cli, Cluster};
use crate::logs_check::gapless;
use crate::prober::Attempt;
use crate::workload::{LINES, Workload};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Waits until every run has ended, then judges. `limit` bounds the wait.
pub async fn judge(
    clis: &[Cli],
    cluster: &mut Cluster,
    workload: &Workload,
    limit: Duration,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    for run in &workload.runs {
        wait_done(&clis[0], run, deadline).await?;
    }
    ran_once(workload)?;
    cluster.wait_leader(Duration::from_secs(30)).await?;
    for cli in clis {
        for run in &workload.runs {
            let log = cli.run(&["logs", run]).await?;
            gapless(log.lines(), "line ", LINES).with_context(|| format!("the log of {run}"))?;
        }
    }
    Ok(())
}

/// All writes of the prober were acknowledged, and the last acknowledged value of each name is there.
pub async fn writes_kept(cluster: &Cluster, attempts: &[Attempt]) -> Result<()> {
    let failed: Vec<&Attempt> = attempts
        .iter()
        .filter(|attempt| attempt.error.is_some())
        .collect();
    if let Some(first) = failed.first() {
        bail!(
            "{} of {} writes failed; the first: {:?}",
            failed.len(),
            attempts.len(),
            first.error
        );
    }
    for replica in &cluster.replicas {
        let answer = crate::lab::http()
            .post(format!("{}/api/project/main/secrets/list", replica.url()))
            .bearer_auth(&cluster.token)
            .send()
            .await
            .context("listing the prober's secrets")?;
        let listed: Vec<serde_json::Value> = answer
            .json()
            .await
            .context("reading the prober's secrets")?;
        let expected = attempts.len().min(16);
        let found = listed
            .iter()
            .filter(|one| {
                one["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("probe-"))
            })
            .count();
        if found != expected {
            bail!(
                "{} shows {found} of {expected} acknowledged secrets",
                replica.plan.name
            );
        }
    }
    Ok(())
}

async fn wait_done(cli: &Cli, run: &str, deadline: Instant) -> Result<()> {
    loop {
        let text = cli.run(&["run", "get", run, "--json"]).await?;
        let value: serde_json::Value =
            serde_json::from_str(&text).context("dstack run get printed no JSON")?;
        match value["status"].as_str().unwrap_or_default() {
            "done" => return Ok(()),
            ended @ ("failed" | "terminated") => {
                let last = &value["latest_job_submission"];
                bail!(
                    "{run} ended as {ended}: {} {}",
                    last["termination_reason"],
                    last["termination_reason_message"]
                );
            }
            status if Instant::now() > deadline => bail!("{run} is still {status}"),
            _ => tokio::time::sleep(Duration::from_millis(200)).await, // a poll, bounded by the deadline
        }
    }
}

fn ran_once(workload: &Workload) -> Result<()> {
    let text = std::fs::read_to_string(&workload.starts).context("reading the file of starts")?;
    let mut starts: BTreeMap<&str, usize> = BTreeMap::new();
    for submission in text.lines() {
        *starts.entry(submission).or_default() += 1;
    }
    if let Some((submission, count)) = starts.iter().find(|(_, count)| **count > 1) {
        bail!("submission {submission} was started {count} times");
    }
    if starts.len() != workload.runs.len() {
        bail!(
            "{} jobs started for {} runs",
            starts.len(),
            workload.runs.len()
        );
    }
    Ok(())
}
