//! `dstack event`.

use super::logs::moment;
use crate::args::Event as Args;
use crate::failure::Outcome;
use crate::ui;
use dstack_api::client::{ApiError, ProjectClient};
use dstack_api::http::events::{Event, ListEvents, MOST_EVENTS};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

const REFRESH: Duration = Duration::from_secs(2);

/// The latest page, or everything since a moment, oldest first; with `--watch` whatever comes after, too.
pub async fn event(args: Args) -> Outcome {
    let project = super::connect(&args.common)?;
    let mut filter = filter(&project, &args).await?;
    if let Some(since) = &args.since {
        // A page in ascending order begins after this moment.
        filter.prev_recorded_at = Some(moment(since)?);
        filter.ascending = true;
    }
    let mut seen: BTreeSet<Uuid> = BTreeSet::new();
    loop {
        let events = read(&project, &mut filter).await?;
        if let Some(last) = events.last() {
            go_on_after(&mut filter, last);
        }
        let fresh: Vec<Event> = events
            .into_iter()
            .filter(|event| seen.insert(event.id))
            .collect();
        if args.json {
            ui::json(&fresh);
        } else {
            fresh
                .iter()
                .for_each(|event| ui::data(&ui::events::line(event)));
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(REFRESH).await;
    }
}

fn go_on_after(filter: &mut ListEvents, last: &Event) {
    filter.prev_recorded_at = Some(last.recorded_at);
    filter.prev_id = Some(last.id);
    filter.ascending = true;
}

/// One page of the latest, or all pages from there to the end. Oldest first.
async fn read(project: &ProjectClient, filter: &mut ListEvents) -> Outcome<Vec<Event>> {
    let mut all = Vec::new();
    loop {
        let answer = project.client().list_events(filter).await;
        let page = answer.map_err(super::refused)?;
        if !filter.ascending {
            return Ok(page.into_iter().rev().collect());
        }
        let more = page.len() >= MOST_EVENTS as usize;
        if let Some(last) = page.last() {
            go_on_after(filter, last);
        }
        all.extend(page);
        if !more {
            return Ok(all);
        }
    }
}

/// Names become ids; without any filter, everything within the project.
async fn filter(project: &ProjectClient, args: &Args) -> Outcome<ListEvents> {
    let mut filter = ListEvents {
        include_target_types: (!args.types.is_empty()).then(|| args.types.clone()),
        ..ListEvents::default()
    };
    let run = async |name: String| Ok(project.get_run_by_name(&name).await?.id);
    let fleet = async |name: String| Ok(project.get_fleet_by_name(&name).await?.id);
    let secret = async |name: String| Ok(project.get_secret(&name).await?.id);
    let volume = async |name: String| Ok(id_in(&project.get_volume(&name).await?));
    let gateway = async |name: String| Ok(id_in(&project.get_gateway(&name).await?));
    filter.target_runs = ids(&args.target_run, run).await?;
    filter.target_fleets = ids(&args.target_fleet, fleet).await?;
    filter.target_secrets = ids(&args.target_secret, secret).await?;
    filter.target_volumes = ids(&args.target_volume, volume).await?;
    filter.target_gateways = ids(&args.target_gateway, gateway).await?;
    filter.within_runs = ids(&args.within_run, run).await?;
    filter.within_fleets = ids(&args.within_fleet, fleet).await?;
    filter.within_gateways = ids(&args.within_gateway, gateway).await?;
    if filter.targets().is_empty() && filter.within().is_empty() {
        let project = project.get().await.map_err(super::refused)?;
        filter.within_projects = Some(vec![project.project_id]);
    }
    Ok(filter)
}

async fn ids(
    names: &[String],
    find: impl AsyncFn(String) -> Result<Uuid, ApiError>,
) -> Outcome<Option<Vec<Uuid>>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(find(name.clone()).await.map_err(super::refused)?);
    }
    Ok((!found.is_empty()).then_some(found))
}

fn id_in(thing: &Value) -> Uuid {
    let id = thing.get("id").and_then(Value::as_str);
    id.and_then(|id| id.parse().ok()).unwrap_or_default()
}
