//! What the released client and server said to each other, recorded from the real pair, must be
//! read by our types and come out again with the same meaning.

use dstack_api::http::events::{Event, ListEvents};
use dstack_api::http::fleets::{ApplyFleet, Fleet, FleetPlan, GetFleetPlan};
use dstack_api::http::logs::{JobSubmissionLogs, PollLogs};
use dstack_api::http::projects::{ListProjects, Project, ProjectsInfoList};
use dstack_api::http::repos::{InitRepo, RepoHeadWithCreds};
use dstack_api::http::runs::{ApplyRun, GetRun, GetRunPlan, ListRuns, Run, RunPlan};
use dstack_api::http::users::UserWithCreds;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where `ours` lost or changed something that `recorded` has. Recordings leave nulls out, so
/// what is only in ours is fine as long as it says nothing.
fn differences(path: &str, recorded: &Value, ours: &Value, found: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => {
            for (key, value) in recorded {
                let missing = Value::Null;
                differences(
                    &format!("{path}.{key}"),
                    value,
                    ours.get(key).unwrap_or(&missing),
                    found,
                );
            }
            // A page's length is the one default that says something.
            let added = ours
                .iter()
                .filter(|(key, _)| !recorded.contains_key(*key) && *key != "limit");
            for (key, value) in added.filter(|(_, value)| !says_nothing(value)) {
                found.push(format!("{path}.{key}: added {value}"));
            }
        }
        (Value::Array(recorded), Value::Array(ours)) if recorded.len() == ours.len() => {
            for (index, (recorded, ours)) in recorded.iter().zip(ours).enumerate() {
                differences(&format!("{path}[{index}]"), recorded, ours, found);
            }
        }
        (Value::Number(recorded), Value::Number(ours)) if recorded.as_f64() == ours.as_f64() => {}
        // A flag sends a fleet's plain name, a file its long form; we always write the long one.
        (Value::String(name), Value::Object(reference)) if path.contains(".fleets[") => {
            if reference.get("name").and_then(Value::as_str) != Some(name) {
                found.push(format!("{path}: {recorded} became {ours}"));
            }
        }
        _ if recorded == ours => {}
        _ => found.push(format!("{path}: {recorded} became {ours}")),
    }
}

/// Null, empty, or a default that the recording's shortening left out too.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(says_nothing),
        Value::String(text) => text.is_empty(),
        Value::Number(_) | Value::Bool(true) => false,
    }
}

fn survives<T: DeserializeOwned + Serialize>(name: &str, text: &str) {
    let recorded: Value = serde_json::from_str(text).unwrap();
    let parsed: T = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let ours = serde_json::to_value(&parsed).unwrap();
    let mut found = Vec::new();
    differences("", &recorded, &ours, &mut found);
    assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
    // And what we wrote we read again as the same.
    let again: T = serde_json::from_value(ours.clone()).unwrap();
    assert_eq!(
        serde_json::to_value(&again).unwrap(),
        ours,
        "{name}: a second round trip differs"
    );
}

macro_rules! recordings {
    ($($name:ident: $type:ty),+ $(,)?) => {$(
        #[test]
        fn $name() {
            survives::<$type>(stringify!($name), include_str!(concat!("captured/", stringify!($name), ".json")));
        }
    )+};
}

recordings! {
    get_my_user: UserWithCreds,
    list_projects_request: ListProjects,
    list_projects: ProjectsInfoList,
    get_project: Project,
    get_run_plan_request: GetRunPlan,
    get_run_plan: RunPlan,
    apply_run_request: ApplyRun,
    apply_run: Run,
    get_run_request: GetRun,
    get_run: Run,
    list_runs_request: ListRuns,
    list_runs: Vec<Run>,
    get_fleet_plan_request: GetFleetPlan,
    get_fleet_plan: FleetPlan,
    get_cloud_fleet_plan_request: GetFleetPlan,
    apply_fleet_request: ApplyFleet,
    apply_fleet: Fleet,
    list_fleets: Vec<Fleet>,
    poll_logs_request: PollLogs,
    poll_logs: JobSubmissionLogs,
    offers_request: GetRunPlan,
    list_events_request: ListEvents,
    list_events: Vec<Event>,
    init_repo_request: InitRepo,
    get_repo: RepoHeadWithCreds,
}

/// A client echoes the run it saw; only what tells whether it is still the same is read of it.
#[test]
fn the_echo_of_a_run_is_read_leniently() {
    let text = include_str!("captured/update_run_request.json");
    let mut value: Value = serde_json::from_str(text).unwrap();
    value["plan"]["current_resource"]["something_of_a_newer_client"] = serde_json::json!({"x": 1});
    value["plan"]["current_resource"]["status"] = serde_json::json!("resting");
    let apply: ApplyRun = serde_json::from_value(value).unwrap();
    let current = apply.plan.current_resource.unwrap();
    assert_eq!(
        current.id.to_string(),
        "7ac704bf-c45a-4bcb-b1f6-7965416f01aa"
    );
    assert_eq!(current.run_spec, apply.plan.run_spec);
}

#[test]
fn a_request_with_an_unknown_field_is_refused() {
    let error = serde_json::from_str::<ListRuns>(r#"{"zzz":1}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `zzz`"), "{error}");
}

/// The released client aborts on a required field that is missing, so nulls are written.
#[test]
fn nulls_are_written() {
    let text = include_str!("captured/apply_run.json");
    let run: Run = serde_json::from_str(text).unwrap();
    let value = serde_json::to_value(&run).unwrap();
    for field in [
        "fleet",
        "termination_reason",
        "service",
        "error",
        "next_triggered_at",
    ] {
        assert_eq!(value.get(field), Some(&Value::Null), "{field}");
    }
    let submission = &value["jobs"][0]["job_submissions"][0];
    for field in [
        "finished_at",
        "exit_status",
        "job_provisioning_data",
        "image_pull_progress",
    ] {
        assert_eq!(submission.get(field), Some(&Value::Null), "{field}");
    }
    assert_eq!(
        value["jobs"][0].get("job_connection_info"),
        Some(&Value::Null)
    );
}
