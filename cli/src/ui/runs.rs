//! The table of `dstack ps`.

use super::resources::{backend, gpus, price, resources};
use super::{Table, ago};
use dstack_api::http::jobs::Job;
use dstack_api::http::runs::Run;
use jiff::Timestamp;

const SHORT: [&str; 6] = ["NAME", "BACKEND", "GPU", "PRICE", "STATUS", "SUBMITTED"];
const LONG: [&str; 8] = [
    "NAME",
    "BACKEND",
    "RESOURCES",
    "INSTANCE TYPE",
    "PRICE",
    "STATUS",
    "SUBMITTED",
    "ERROR",
];

/// One row a run; with several jobs one more for each job.
pub fn runs(runs: &[Run], verbose: bool, now: Timestamp) -> Table {
    let mut table = Table::new(if verbose { &LONG } else { &SHORT });
    for run in runs {
        let name = run.run_spec.run_name.clone().unwrap_or_default();
        match run.jobs.as_slice() {
            [only] => add(&mut table, verbose, job_row(run, only, name, now)),
            jobs => {
                add(&mut table, verbose, run_row(run, name, now));
                for job in jobs {
                    add(
                        &mut table,
                        verbose,
                        job_row(run, job, job_name(run, job), now),
                    );
                }
            }
        }
    }
    table
}

#[derive(Default)]
struct Row {
    name: String,
    backend: String,
    gpu: String,
    resources: String,
    instance_type: String,
    price: String,
    status: String,
    submitted: String,
    error: String,
}

fn add(table: &mut Table, verbose: bool, row: Row) {
    if verbose {
        let Row {
            name,
            backend,
            resources,
            instance_type,
            price,
            status,
            submitted,
            error,
            ..
        } = row;
        table.row([
            name,
            backend,
            resources,
            instance_type,
            price,
            status,
            submitted,
            error,
        ]);
    } else {
        table.row([
            row.name,
            row.backend,
            row.gpu,
            row.price,
            row.status,
            row.submitted,
        ]);
    }
}

fn run_row(run: &Run, name: String, now: Timestamp) -> Row {
    let status = match &run.latest_job_submission {
        Some(latest) if run.status.is_finished() => latest.status_message.clone(),
        _ => run.status_message.clone(),
    };
    Row {
        name,
        gpu: "-".into(),
        resources: "-".into(),
        price: "-".into(),
        status,
        submitted: ago(run.submitted_at.timestamp(), now),
        error: run.error.clone().unwrap_or_default(),
        ..Row::default()
    }
}

fn job_row(run: &Run, job: &Job, name: String, now: Timestamp) -> Row {
    let Some(latest) = job.job_submissions.last() else {
        return run_row(run, name, now);
    };
    let mut row = Row {
        name,
        gpu: "-".into(),
        resources: "-".into(),
        price: "-".into(),
        status: latest.status_message.clone(),
        submitted: ago(latest.submitted_at.timestamp(), now),
        error: latest
            .error
            .clone()
            .or_else(|| run.error.clone())
            .unwrap_or_default(),
        ..Row::default()
    };
    if let Some(machine) = &latest.job_provisioning_data {
        let shared = latest
            .job_runtime_data
            .as_ref()
            .and_then(|data| data.offer.as_ref())
            .filter(|offer| offer.total_blocks > 1);
        let instance = shared.map_or(&machine.instance_type, |offer| &offer.instance);
        row.backend = backend(machine.backend, &machine.region);
        row.gpu = gpus(&instance.resources.gpus);
        row.resources = resources(&instance.resources);
        row.price = price(shared.map_or(machine.price, |offer| offer.price));
        row.instance_type = match shared {
            Some(offer) => format!(
                "{} ({}/{})",
                instance.name, offer.blocks, offer.total_blocks
            ),
            None => instance.name.clone(),
        };
    }
    row
}

fn job_name(run: &Run, job: &Job) -> String {
    let replicas = run
        .jobs
        .iter()
        .any(|other| other.job_spec.replica_num != job.job_spec.replica_num);
    let several = run
        .jobs
        .iter()
        .any(|other| other.job_spec.job_num != job.job_spec.job_num);
    let mut parts = Vec::new();
    if replicas {
        parts.push(format!("replica={}", job.job_spec.replica_num));
    }
    if several {
        parts.push(format!("job={}", job.job_spec.job_num));
    }
    format!("   {}", parts.join(" "))
}
