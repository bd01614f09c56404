//! `dstack event`.

use crate::args::Event as Args;
use crate::failure::Outcome;
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_api::http::events::{Event, ListEvents};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

const REFRESH: Duration = Duration::from_secs(2);

/// The latest page, oldest first; with `--watch` whatever comes after, too.
pub async fn event(args: Args) -> Outcome {
    let project = super::connect(&args.common)?;
    let filter = filter(&project, &args).await?;
    let mut seen: BTreeSet<Uuid> = BTreeSet::new();
    loop {
        let mut events = project
            .client()
            .list_events(&filter)
            .await
            .map_err(super::refused)?;
        events.reverse();
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

/// Names become ids; without any filter, everything within the project.
async fn filter(project: &ProjectClient, args: &Args) -> Outcome<ListEvents> {
    let mut filter = ListEvents::default();
    for name in args.target_run.iter().chain(&args.within_run) {
        let id = project
            .get_run_by_name(name)
            .await
            .map_err(super::refused)?
            .id;
        let list = if args.target_run.contains(name) {
            &mut filter.target_runs
        } else {
            &mut filter.within_runs
        };
        list.get_or_insert_default().push(id);
    }
    for name in args.target_fleet.iter().chain(&args.within_fleet) {
        let id = project
            .get_fleet_by_name(name)
            .await
            .map_err(super::refused)?
            .id;
        let list = if args.target_fleet.contains(name) {
            &mut filter.target_fleets
        } else {
            &mut filter.within_fleets
        };
        list.get_or_insert_default().push(id);
    }
    let narrowed = [
        &filter.target_runs,
        &filter.target_fleets,
        &filter.within_runs,
        &filter.within_fleets,
    ];
    if narrowed.iter().all(|list| list.is_none()) {
        filter.within_projects = Some(vec![
            project.get().await.map_err(super::refused)?.project_id,
        ]);
    }
    Ok(filter)
}
