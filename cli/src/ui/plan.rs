//! What is about to happen, before it is confirmed.

use super::resources::{availability, backend, price, resources};
use super::{Table, data, duration};
use dstack_api::http::fleets::FleetPlan;
use dstack_api::http::runs::RunPlan;
use dstack_domain::model::InstanceOffer;
use dstack_domain::spec::{IdleDuration, Retry, RunConfiguration};

/// Idle machines that a run created go after this long, unless the run says otherwise.
const DEFAULT_RUN_IDLE_SECONDS: i64 = 300;

/// Properties, then the first offers.
pub fn run(plan: &RunPlan, shown: usize, verbose: bool) {
    let spec = plan.effective_run_spec.as_ref().unwrap_or(&plan.run_spec);
    let Some(job) = plan.job_plans.first() else {
        return;
    };
    let requirements = &job.job_spec.requirements;
    let profile = spec.merged_profile();
    let mut rows = vec![
        ("Project", plan.project_name.clone()),
        ("User", plan.user.clone()),
        ("Type", kind(&spec.configuration)),
        ("Resources", requirements.resources.to_string()),
        (
            "Spot policy",
            match requirements.spot {
                None => "auto".into(),
                Some(true) => "spot".into(),
                Some(false) => "on-demand".into(),
            },
        ),
        (
            "Max price",
            requirements.max_price.map_or_else(|| "off".into(), price),
        ),
        (
            "Retry policy",
            job.job_spec
                .retry
                .as_ref()
                .map_or_else(|| "off".into(), retry),
        ),
        ("Idle duration", idle(profile.idle_duration)),
        (
            "Max duration",
            job.job_spec
                .max_duration
                .map_or_else(|| "off".into(), seconds),
        ),
    ];
    if verbose || profile.reservation.is_some() {
        rows.push((
            "Reservation",
            profile.reservation.clone().unwrap_or_else(|| "no".into()),
        ));
    }
    properties(&rows);
    offers(&job.offers, job.total_offers, job.max_price, shown);
}

/// The same for a fleet.
pub fn fleet(plan: &FleetPlan, shown: usize) {
    let spec = plan.effective_spec.as_ref().unwrap_or(&plan.spec);
    let configuration = &spec.configuration;
    let mut rows = vec![
        ("Project", plan.project_name.clone()),
        ("User", plan.user.clone()),
        (
            "Configuration",
            spec.configuration_path.clone().unwrap_or_default(),
        ),
        ("Type", "fleet".into()),
    ];
    match &configuration.ssh_config {
        Some(ssh) => {
            rows.push(("Fleet type", "ssh".into()));
            rows.push(("Nodes", ssh.hosts.len().to_string()));
        }
        None => {
            rows.push(("Fleet type", "cloud".into()));
            if let Some(resources) = &configuration.resources {
                rows.push(("Resources", resources.to_string()));
            }
        }
    }
    if let Some(placement) = &configuration.placement {
        rows.push(("Placement", format!("{placement:?}").to_lowercase()));
    }
    properties(&rows);
    if configuration.ssh_config.is_none() {
        offers(&plan.offers, plan.total_offers, plan.max_offer_price, shown);
    }
}

fn properties(rows: &[(&str, String)]) {
    let width = rows
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    for (name, value) in rows {
        data(format!(" {name:width$}  {value}").trim_end());
    }
    data("");
}

/// A table of the first of them.
pub fn offers(offers: &[InstanceOffer], total: u64, most: Option<f64>, shown: usize) {
    if offers.is_empty() {
        return;
    }
    let mut table = Table::new(&["#", "BACKEND", "RESOURCES", "INSTANCE TYPE", "PRICE", ""]);
    for (index, offer) in offers.iter().take(shown).enumerate() {
        let name = if offer.total_blocks > 1 {
            format!(
                "{} ({}/{})",
                offer.instance.name, offer.blocks, offer.total_blocks
            )
        } else {
            offer.instance.name.clone()
        };
        table.row([
            (index + 1).to_string(),
            backend(offer.backend, &offer.region),
            resources(&offer.instance.resources),
            name,
            price(offer.price),
            availability(offer.availability).to_owned(),
        ]);
    }
    table.print();
    if total > offers.len().min(shown) as u64 {
        data(&format!(
            " Shown {} of {total} offers, {} max",
            offers.len().min(shown),
            price(most.unwrap_or_default())
        ));
    }
    data("");
}

fn kind(configuration: &RunConfiguration) -> String {
    match configuration {
        RunConfiguration::Task(task) => format!("task (nodes={})", task.nodes.unwrap_or(1)),
        RunConfiguration::DevEnvironment(_) => "dev-environment".into(),
        RunConfiguration::Service(_) => "service".into(),
    }
}

fn retry(retry: &Retry) -> String {
    let events: Vec<String> = retry
        .on_events
        .iter()
        .filter_map(|event| {
            serde_json::to_value(event)
                .ok()?
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    format!(
        "{} ({})",
        seconds(retry.duration.as_secs()),
        events.join(", ")
    )
}

fn idle(setting: Option<IdleDuration>) -> String {
    match setting {
        None => duration(DEFAULT_RUN_IDLE_SECONDS),
        Some(IdleDuration::Never) => "-".into(),
        Some(IdleDuration::After(limit)) => seconds(limit.as_secs()),
    }
}

fn seconds(seconds: u64) -> String {
    duration(i64::try_from(seconds).unwrap_or(i64::MAX))
}
