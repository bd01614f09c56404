//! One replica by itself.

use http::StatusCode;
use serde_json::json;

use crate::lab::{Replica, TOKEN, until};

#[tokio::test]
async fn without_flags_it_founds_itself_prints_its_token_and_survives_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::new(dir.path(), "solo", &[]);
    replica.start();
    let token = replica.printed_token().await;
    let api = replica.api().with_token(&token);
    let (status, me) = api.post("/api/users/get_my_user", json!({})).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{me}");
    assert_eq!(me["username"], "admin");
    let (status, _) = api.post("/api/project/main/get", json!({})).await.unwrap();
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "an unknown path");
    let (status, project) = api.post("/api/projects/main/get", json!({})).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{project}");

    let ended = replica.terminate().await;
    assert!(ended.success(), "{ended}");
    replica.start();
    api.ready().await;
    let (_, again) = api.post("/api/users/get_my_user", json!({})).await.unwrap();
    assert_eq!(me["id"], again["id"]);

    replica.kill();
    replica.start();
    api.ready().await;
    let (_, again) = api.post("/api/users/get_my_user", json!({})).await.unwrap();
    assert_eq!(me["id"], again["id"]);
}

#[tokio::test]
async fn a_given_token_is_the_admins_and_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::new(dir.path(), "solo", &["--token", TOKEN]);
    replica.start();
    replica.api().ready().await;
    let (status, _) = replica
        .api()
        .with_token("another")
        .post("/api/users/get_my_user", json!({}))
        .await
        .unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_is_in_use_is_told_with_an_exit_code_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::new(dir.path(), "solo", &["--token", TOKEN]);
    replica.start();
    replica.api().ready().await;

    let mut same_port = Replica::new(dir.path(), "other", &[]);
    same_port.port = replica.port;
    let refused = same_port.command().output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("--port"), "{said}");

    let mut same_dir = Replica::new(dir.path(), "solo", &[]);
    same_dir.dir = replica.dir.clone();
    let refused = same_dir.command().output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("in use by another dstack server"), "{said}");
}

#[tokio::test]
async fn secrets_lie_sealed_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::new(dir.path(), "solo", &["--token", TOKEN]);
    replica.start();
    let api = replica.api();
    api.ready().await;
    let body = json!({"name": "password", "value": "plain-text-to-look-for"});
    let (status, answer) = api
        .post("/api/project/main/secrets/create_or_update", body)
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (_, read) = api
        .post("/api/project/main/secrets/get", json!({"name": "password"}))
        .await
        .unwrap();
    assert_eq!(read["value"], "plain-text-to-look-for");
    until("it is stopped", async || Some(replica.terminate().await)).await;
    let mut looked_at = 0;
    let mut folders = vec![replica.dir.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            looked_at += 1;
            let bytes = std::fs::read(&path).unwrap();
            for secret in ["plain-text-to-look-for", TOKEN] {
                let found = bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(!found, "{} is in {}", secret, path.display());
            }
        }
    }
    assert!(looked_at > 5);
}
