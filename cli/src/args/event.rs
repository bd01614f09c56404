//! `dstack event`.

use super::{Common, live};
use clap::{ArgGroup, Args};
use dstack_api::http::events::EventTargetType;

/// Events; one filter by what they are about, one by where they happened.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").multiple(false), group = ArgGroup::new("within").multiple(false))]
pub struct Event {
    #[command(flatten)]
    pub common: Common,
    /// Only events about these runs
    #[arg(long, value_name = "NAME", group = "target", add = live::runs())]
    pub target_run: Vec<String>,
    /// Only events about these fleets
    #[arg(long, value_name = "NAME", group = "target", add = live::fleets())]
    pub target_fleet: Vec<String>,
    /// Only events about these volumes
    #[arg(long, value_name = "NAME", group = "target")]
    pub target_volume: Vec<String>,
    /// Only events about these gateways
    #[arg(long, value_name = "NAME", group = "target")]
    pub target_gateway: Vec<String>,
    /// Only events about these secrets
    #[arg(long, value_name = "NAME", group = "target", add = live::secrets())]
    pub target_secret: Vec<String>,
    /// Events of these runs and their jobs
    #[arg(long, value_name = "NAME", group = "within", add = live::runs())]
    pub within_run: Vec<String>,
    /// Events of these fleets and their instances
    #[arg(long, value_name = "NAME", group = "within", add = live::fleets())]
    pub within_fleet: Vec<String>,
    /// Events of these gateways and their replicas
    #[arg(long, value_name = "NAME", group = "within")]
    pub within_gateway: Vec<String>,
    /// Only events about things of these types: run, job, fleet, instance, secret, …
    #[arg(long = "include-target-type", value_name = "TYPE", value_parser = target_type)]
    pub types: Vec<EventTargetType>,
    /// All events since then: a duration (10m) or an RFC 3339 time; else the latest 100
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Go on showing new events
    #[arg(short, long)]
    pub watch: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// What to do; there is only list
    #[arg(value_name = "VERB", value_parser = ["list"])]
    pub verb: Option<String>,
}

fn target_type(word: &str) -> Result<EventTargetType, String> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|error| error.to_string())
}
