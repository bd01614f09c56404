//! The table of `dstack fleet`.

use super::resources::{backend, gpus, price, resources};
use super::{Table, ago, word};
use dstack_api::http::fleets::Fleet;
use dstack_api::http::instances::Instance;
use dstack_domain::spec::Placement;
use jiff::Timestamp;

const SHORT: [&str; 8] = [
    "NAME", "NODES", "GPU", "SPOT", "BACKEND", "PRICE", "STATUS", "CREATED",
];
const LONG: [&str; 10] = [
    "NAME",
    "NODES",
    "RESOURCES",
    "DRIVER",
    "SPOT",
    "BACKEND",
    "PRICE",
    "STATUS",
    "CREATED",
    "ERROR",
];

/// Newest fleet first; below each its instances.
pub fn fleets(fleets: &[Fleet], verbose: bool, now: Timestamp) -> Table {
    let mut table = Table::new(if verbose { &LONG } else { &SHORT });
    let mut sorted: Vec<&Fleet> = fleets.iter().collect();
    sorted.sort_by_key(|fleet| std::cmp::Reverse(fleet.created_at));
    for fleet in sorted {
        fleet_row(&mut table, fleet, verbose, now);
        for instance in &fleet.instances {
            instance_row(&mut table, instance, verbose, now);
        }
    }
    table
}

fn fleet_row(table: &mut Table, fleet: &Fleet, verbose: bool, now: Timestamp) {
    let spec = &fleet.spec.configuration;
    let mut nodes = match (&spec.ssh_config, &spec.nodes) {
        (Some(ssh), _) => ssh.hosts.len().to_string(),
        (None, Some(nodes)) => match nodes.max {
            Some(max) if max == nodes.min => max.to_string(),
            Some(max) => format!("{}..{max}", nodes.min),
            None => format!("{}..", nodes.min),
        },
        (None, None) => String::new(),
    };
    let backend = if spec.ssh_config.is_some() {
        "ssh"
    } else {
        "*"
    };
    let created = ago(fleet.created_at.timestamp(), now);
    let status = word(&fleet.status);
    if verbose {
        if spec.placement == Some(Placement::Cluster) {
            nodes.push_str(" (cluster)");
        }
        let error = fleet.status_message.clone().unwrap_or_default();
        table.row(
            [
                &fleet.name,
                &nodes,
                "",
                "",
                "",
                backend,
                "",
                &status,
                &created,
                &error,
            ]
            .map(str::to_owned),
        );
    } else {
        table.row([&fleet.name, &nodes, "", "", backend, "", &status, &created].map(str::to_owned));
    }
}

fn instance_row(table: &mut Table, instance: &Instance, verbose: bool, now: Timestamp) {
    let name = format!("   instance={}", instance.instance_num);
    let ssh = instance
        .backend
        .is_some_and(|backend| backend.as_str() == "remote");
    let place = instance
        .backend
        .map(|kind| backend(kind, instance.region.as_deref().unwrap_or_default()))
        .unwrap_or_default();
    let machine = instance.instance_type.as_ref().map(|kind| &kind.resources);
    let spot = match machine {
        Some(_) if ssh => "",
        Some(machine) if machine.spot => "spot",
        Some(_) => "on-demand",
        None => "",
    };
    let cost = if ssh {
        String::new()
    } else {
        instance.price.map(price).unwrap_or_default()
    };
    let created = ago(instance.created.timestamp(), now);
    let status = status(instance);
    if verbose {
        let driver = instance
            .gpu_driver
            .as_ref()
            .map(|driver| driver.version.clone())
            .unwrap_or_default();
        let resources = machine.map(resources).unwrap_or_default();
        table.row([
            name,
            String::new(),
            resources,
            driver,
            spot.into(),
            place,
            cost,
            status,
            created,
            error(instance),
        ]);
    } else {
        let gpu = machine
            .map(|machine| gpus(&machine.gpus))
            .unwrap_or_default();
        table.row([
            name,
            String::new(),
            gpu,
            spot.into(),
            place,
            cost,
            status,
            created,
        ]);
    }
}

/// `idle`, `1/2 busy`, `idle (unreachable)`.
fn status(instance: &Instance) -> String {
    let mut text = word(&instance.status);
    if let Some(total) = instance.total_blocks.filter(|total| *total > 1)
        && matches!(text.as_str(), "idle" | "busy")
    {
        text = format!("{}/{total} busy", instance.busy_blocks);
    }
    if instance.unreachable {
        text.push_str(" (unreachable)");
    }
    text
}

/// Why it ended, or why it cannot be reached.
fn error(instance: &Instance) -> String {
    match (
        &instance.termination_reason,
        &instance.termination_reason_message,
    ) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(text), None) | (None, Some(text)) => text.clone(),
        (None, None) => String::new(),
    }
}
