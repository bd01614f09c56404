//! The HTTP API of one replica, as its clients meet it.

use std::path::Path;

use dstack_api::client::{ApiError, Client, ClientOptions};
use dstack_api::http::errors::ErrorCode;
use dstack_api::http::events::ListEvents;
use dstack_api::http::logs::PollLogs;
use dstack_api::http::projects::{CreateProject, MemberSetting, ProjectRole};
use dstack_api::http::runs::{ApplyAction, ApplyRunInput, GetRunPlan, ListRuns, Run, RunSnapshot};
use dstack_api::http::users::{CreateUser, GlobalRole};
use dstack_domain::spec::RunSpec;
use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::lab::{Replica, TOKEN, until};

struct Solo {
    replica: Replica,
    client: Client,
    _dir: tempfile::TempDir,
}

async fn solo() -> Solo {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::new(dir.path(), "solo", &["--token", TOKEN]);
    replica.start();
    replica.api().ready().await;
    let client = client(&replica, TOKEN);
    Solo {
        replica,
        client,
        _dir: dir,
    }
}

fn client(replica: &Replica, token: &str) -> Client {
    Client::new(ClientOptions::new(
        [replica.url("")],
        Some(token.to_owned()),
    ))
    .unwrap()
}

/// A task that waits for a machine that never comes.
fn waiting(name: Option<&str>, command: &str) -> RunSpec {
    serde_json::from_value(json!({
        "run_name": name,
        "configuration": {"type": "task", "name": name, "commands": [command], "retry": true},
    }))
    .unwrap()
}

fn plan(spec: &RunSpec, current: Option<&Run>) -> ApplyRunInput {
    ApplyRunInput {
        run_spec: spec.clone(),
        current_resource: current.map(RunSnapshot::from),
    }
}

async fn finished(client: &Client, name: &str) -> Run {
    until("the run is finished", async || {
        let run = client.project("main").get_run_by_name(name).await.unwrap();
        run.status.is_finished().then_some(run)
    })
    .await
}

#[tokio::test]
async fn refusals_are_upstreams_to_the_letter() {
    let solo = solo().await;
    let api = solo.replica.api();
    let missing_run = json!({"run_name": "nope", "id": null});
    let no_token = reqwest_without_token(&solo.replica).await;
    assert_eq!(no_token, (401, json!({"detail": "Not authenticated"})));
    let cases = [
        (
            "x",
            "/api/users/get_my_user",
            json!({}),
            403,
            json!({"detail": {"msg": "Invalid token", "code": null}}),
        ),
        (
            "x",
            "/api/project/nope/runs/get",
            json!({}),
            403,
            json!({"detail": {"msg": "Invalid token", "code": null}}),
        ),
        (
            TOKEN,
            "/api/project/nope/runs/get",
            missing_run.clone(),
            404,
            json!({"detail": {"msg": "Not found", "code": null}}),
        ),
        (
            TOKEN,
            "/api/project/MAIN/runs/get",
            missing_run,
            400,
            json!({"detail": [{"msg": "Run not found", "code": "resource_not_exists"}]}),
        ),
        (
            TOKEN,
            "/api/project/main/presets/get",
            json!({}),
            405,
            json!({"detail": "Method Not Allowed"}),
        ),
        (
            TOKEN,
            "/api/project/main/runs/stop",
            json!({"runs_names": ["nope"], "abort": false}),
            200,
            Value::Null,
        ),
        (
            TOKEN,
            "/api/runs/list",
            json!({"project_name": "nope"}),
            200,
            json!([]),
        ),
    ];
    for (token, path, body, status, expected) in cases {
        let (got, answer) = api
            .clone()
            .with_token(token)
            .post(path, body)
            .await
            .unwrap();
        assert_eq!((got.as_u16(), answer), (status, expected), "{path}");
    }
    let (status, answer) = api.post("/api/runs/list", json!({"zzz": 1})).await.unwrap();
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer["detail"][0]["type"], "extra_forbidden");
    assert_eq!(answer["detail"][0]["loc"], json!(["body", "zzz"]));
}

async fn reqwest_without_token(replica: &Replica) -> (u16, Value) {
    let error = Client::new(ClientOptions::new([replica.url("")], None))
        .unwrap()
        .my_user()
        .await
        .unwrap_err();
    match error {
        ApiError::Denied { message, .. } => (401, json!({ "detail": message })),
        other => panic!("{other}"),
    }
}

/// The released client sends an apply again when its connection drops, and names no request.
#[tokio::test]
async fn an_apply_that_comes_twice_makes_one_run_and_one_that_is_meant_twice_makes_two() {
    let solo = solo().await;
    let (api, project) = (solo.replica.api(), solo.client.project("main"));
    let body = serde_json::to_value(
        json!({"plan": plan(&waiting(Some("twice"), "true"), None), "force": false}),
    )
    .unwrap();
    let apply = async || {
        let (status, run) = api
            .post("/api/project/main/runs/apply", body.clone())
            .await
            .unwrap();
        assert_eq!(status, StatusCode::OK, "{run}");
        run["id"].as_str().unwrap().to_owned()
    };
    let first = apply().await;
    assert_eq!(apply().await, first);

    project.stop_runs(vec!["twice".into()], true).await.unwrap();
    finished(&solo.client, "twice").await;
    project.delete_runs(vec!["twice".into()]).await.unwrap();
    let second = apply().await;
    assert_ne!(
        second, first,
        "the first was deleted, so the same words mean a new run"
    );
    assert_eq!(apply().await, second, "and its repetition finds that one");
}

#[tokio::test]
async fn an_active_run_is_updated_in_place_or_not_at_all() {
    let solo = solo().await;
    let project = solo.client.project("main");
    let spec = waiting(Some("steady"), "true");
    let run = project.apply_run(plan(&spec, None), false).await.unwrap();
    let ask = |spec: &RunSpec| GetRunPlan {
        run_spec: spec.clone(),
        max_offers: None,
        reverse_offers: false,
        full_offers: false,
        unallocated_resources: false,
        for_offers_only: false,
    };
    let same = project.get_run_plan(&ask(&spec)).await.unwrap();
    assert_eq!(
        same.action,
        ApplyAction::Update,
        "no difference counts as an update"
    );
    assert_eq!(
        same.effective_run_spec.as_ref(),
        Some(&same.current_resource.as_ref().unwrap().run_spec)
    );
    assert_eq!(
        same.run_spec, spec,
        "the client's own specification comes back untouched"
    );

    let other = waiting(Some("steady"), "false");
    assert_eq!(
        project.get_run_plan(&ask(&other)).await.unwrap().action,
        ApplyAction::Create
    );
    let error = project
        .apply_run(plan(&other, Some(&run)), false)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Stop the run first"), "{error}");

    let mut urgent = spec.clone();
    urgent.configuration.common_mut().priority = Some(7);
    let error = project
        .apply_run(plan(&urgent, None), false)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("Resource has been changed"),
        "{error}"
    );
    let updated = project
        .apply_run(plan(&urgent, Some(&run)), false)
        .await
        .unwrap();
    assert_eq!((updated.id, updated.deployment_num), (run.id, 1));
    let error = project
        .apply_run(plan(&spec, Some(&run)), false)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("Resource has been changed"),
        "made for the older one: {error}"
    );
}

#[tokio::test]
async fn pages_of_runs_cover_them_all_once() {
    let solo = solo().await;
    let project = solo.client.project("main");
    let mut made = Vec::new();
    for number in 0..7 {
        let run = project
            .apply_run(plan(&waiting(None, "true"), None), false)
            .await
            .unwrap();
        let name = run.run_spec.run_name.clone().unwrap();
        if number % 3 == 0 {
            project.stop_runs(vec![name.clone()], true).await.unwrap();
            finished(&solo.client, &name).await;
            project.delete_runs(vec![name]).await.unwrap();
        }
        made.push(run.id);
    }
    for ascending in [false, true] {
        let mut request = ListRuns {
            project_name: Some("main".into()),
            limit: 2,
            ascending,
            ..ListRuns::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = solo.client.list_runs(&request).await.unwrap();
            let Some(last) = page.last() else { break };
            request.prev_submitted_at = Some(last.submitted_at);
            request.prev_run_id = Some(last.id);
            seen.extend(page.iter().map(|run| run.id));
        }
        if !ascending {
            seen.reverse();
        }
        assert_eq!(seen, made, "ascending {ascending}");
    }
    let active = ListRuns {
        only_active: true,
        ..ListRuns::default()
    };
    assert_eq!(solo.client.list_runs(&active).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_secret_is_shown_to_its_administrator_and_lies_nowhere_in_the_open() {
    let solo = solo().await;
    let project = solo.client.project("main");
    let value = "correct-horse-battery-staple";
    project.set_secret("key", value).await.unwrap();
    assert_eq!(
        project.get_secret("key").await.unwrap().value.as_deref(),
        Some(value)
    );
    assert!(
        project
            .list_secrets()
            .await
            .unwrap()
            .iter()
            .all(|secret| secret.value.is_none())
    );
    let events = solo
        .client
        .list_events(&ListEvents::default())
        .await
        .unwrap();
    assert!(
        events.iter().any(|event| event.message == "Secret created"),
        "{events:?}"
    );
    assert!(!serde_json::to_string(&events).unwrap().contains(value));
    assert!(
        !holds(&solo.replica.dir, value.as_bytes()),
        "a file of the replica holds the secret"
    );
    assert!(
        !holds(&solo.replica.dir, TOKEN.as_bytes()),
        "a file of the replica holds the token"
    );

    let error = project
        .set_secret("key", &"x".repeat(5001))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("5000"), "{error}");
    project.delete_secrets(vec!["key".into()]).await.unwrap();
    assert!(project.get_secret("key").await.unwrap_err().is_absent());
}

/// Whether a file below the folder has these bytes.
pub fn holds(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .any(|path| {
            if path.is_dir() {
                return holds(&path, needle);
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            bytes.windows(needle.len()).any(|window| window == needle)
        })
}

#[tokio::test]
async fn roles_open_and_close_doors() {
    let solo = solo().await;
    let ada = CreateUser {
        username: "ada".into(),
        global_role: GlobalRole::User,
        email: None,
        active: true,
    };
    solo.client.create_user(&ada).await.unwrap();
    let error = solo.client.create_user(&ada).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::ResourceExists));
    let token = solo.client.get_user("ada").await.unwrap().creds.token;
    let hers = client(&solo.replica, &token);

    assert!(matches!(
        hers.project("main").get_run_by_name("x").await,
        Err(ApiError::Denied { .. })
    ));
    let member = |role| {
        vec![MemberSetting {
            username: "ada".into(),
            project_role: role,
        }]
    };
    solo.client
        .project("main")
        .add_members(member(ProjectRole::User))
        .await
        .unwrap();
    assert!(
        hers.project("main")
            .get_run_by_name("x")
            .await
            .unwrap_err()
            .is_absent()
    );
    assert!(matches!(
        hers.project("main").list_secrets().await,
        Err(ApiError::Denied { .. })
    ));
    assert!(matches!(
        hers.create_user(&ada).await,
        Err(ApiError::Denied { .. })
    ));

    hers.create_project(&CreateProject {
        project_name: "hers".into(),
        ..CreateProject::default()
    })
    .await
    .unwrap();
    assert!(
        hers.project("hers")
            .list_secrets()
            .await
            .unwrap()
            .is_empty()
    );
    let seen: Vec<_> = hers.list_projects(&Default::default()).await.unwrap();
    assert_eq!(seen.len(), 2);

    let renewed = hers.refresh_token("ada").await.unwrap().creds.token;
    assert!(
        matches!(hers.my_user().await, Err(ApiError::Denied { .. })),
        "the old token is dead at once"
    );
    assert_eq!(
        client(&solo.replica, &renewed)
            .my_user()
            .await
            .unwrap()
            .user
            .username,
        "ada"
    );
}

#[tokio::test]
async fn uploads_are_known_by_their_content() {
    let solo = solo().await;
    let content = vec![7u8; 100_000];
    let sha256 = hex::encode(Sha256::digest(&content));
    let first = solo.client.upload_archive(&sha256, &content).await.unwrap();
    assert_eq!(first.hash, sha256);
    assert_eq!(
        solo.client
            .upload_archive(&sha256, &content)
            .await
            .unwrap()
            .id,
        first.id
    );
    assert_eq!(
        solo.client.get_archive_by_hash(&sha256).await.unwrap().id,
        first.id
    );

    let damaged = solo
        .client
        .upload_archive(&sha256, b"something else")
        .await
        .unwrap_err();
    assert!(damaged.to_string().contains("SHA-256"), "{damaged}");
    let huge = vec![0u8; 3 * 1024 * 1024];
    let refused = solo
        .client
        .upload_archive(&hex::encode(Sha256::digest(&huge)), &huge)
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("DSTACK_SERVER_CODE_UPLOAD_LIMIT"),
        "{refused}"
    );

    let unknown = solo
        .client
        .project("main")
        .upload_code("nope", &sha256, &content)
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::RepoDoesNotExist));
}

#[tokio::test]
async fn events_are_paged_and_filtered() {
    let solo = solo().await;
    let project = solo.client.project("main");
    let run = project
        .apply_run(plan(&waiting(Some("noted"), "true"), None), false)
        .await
        .unwrap();
    for number in 0..5 {
        project
            .set_secret(&format!("s{number}"), "v")
            .await
            .unwrap();
    }
    let about = ListEvents {
        target_runs: Some(vec![run.id]),
        ..ListEvents::default()
    };
    let events = solo.client.list_events(&about).await.unwrap();
    let oldest = events.last().unwrap();
    assert_eq!(oldest.message, "Run submitted. Status: SUBMITTED");
    assert_eq!(oldest.actor_user.as_deref(), Some("admin"));

    let everything = solo
        .client
        .list_events(&ListEvents::default())
        .await
        .unwrap();
    let mut page = ListEvents {
        limit: 3,
        ascending: true,
        ..ListEvents::default()
    };
    let mut seen = Vec::new();
    while seen.len() < everything.len() {
        let got = solo.client.list_events(&page).await.unwrap();
        let Some(last) = got.last() else { break };
        page.prev_recorded_at = Some(last.recorded_at);
        page.prev_id = Some(last.id);
        seen.extend(got.into_iter().map(|event| event.id));
    }
    let mut expected: Vec<_> = everything.iter().map(|event| event.id).collect();
    expected.reverse();
    assert_eq!(seen[..expected.len()], expected);
}

#[tokio::test]
async fn logs_of_nothing_are_empty_and_end() {
    let solo = solo().await;
    let project = solo.client.project("main");
    let run = project
        .apply_run(plan(&waiting(Some("silent"), "true"), None), false)
        .await
        .unwrap();
    let mut request = PollLogs {
        run_name: "silent".into(),
        job_submission_id: run.jobs[0].job_submissions[0].id,
        start_time: None,
        end_time: None,
        descending: false,
        next_token: None,
        limit: 1000,
        diagnose: false,
        wait: None,
        follow: false,
    };
    let logs = project.poll_logs(&request).await.unwrap();
    assert!(logs.logs.is_empty() && logs.next_token.is_none());
    request.follow = true;
    assert_eq!(
        project
            .poll_logs(&request)
            .await
            .unwrap()
            .next_token
            .as_deref(),
        Some("0")
    );
    request.next_token = Some("not a token".into());
    assert!(matches!(
        project.poll_logs(&request).await,
        Err(ApiError::Refused { .. })
    ));
    request.run_name = "another".into();
    assert!(
        project.poll_logs(&request).await.unwrap().logs.is_empty(),
        "another run's job is nobody's"
    );
}
