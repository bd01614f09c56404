//! A cloud is configured through any replica, tried before it is kept, and offered by all of them.

use crusoe_sim::{Account, Options, Sim};
use http::StatusCode;
use serde_json::{Value, json};

use crate::lab::{Api, Lab, until};

async fn sim() -> Sim {
    let anywhere = "127.0.0.1:0".parse().unwrap();
    Sim::start(anywhere, Account::default(), Options::default())
        .await
        .unwrap()
}

fn config(sim: &Sim, secret: &str) -> Value {
    json!({"type": "crusoe", "project_id": "sim", "regions": ["us-east1-a"], "endpoint": sim.endpoint(),
        "creds": {"type": "access_key", "access_key": sim.account().key_id, "secret_key": secret}})
}

async fn ask(api: &Api, path: &str, body: Value) -> (StatusCode, Value) {
    api.post(&format!("/api/project/main/{path}"), body)
        .await
        .unwrap()
}

async fn refused(api: &Api, path: &str, body: Value, words: &str) {
    let (status, answer) = ask(api, path, body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(answer.to_string().contains(words), "{words}: {answer}");
}

/// What `dstack offer --gpu H100` asks.
fn looking_around() -> Value {
    let resources = json!({"cpu": "1..", "memory": "0..", "gpu": "H100", "disk": null});
    let run = json!({"configuration": {"type": "task", "commands": [":"], "image": "scratch", "resources": resources}});
    json!({"run_spec": run, "max_offers": 10, "for_offers_only": true})
}

#[tokio::test]
async fn what_is_wrong_with_a_backend_is_said_before_it_is_kept() {
    let (lab, sim) = (Lab::started(&["a"]).await, sim().await);
    let api = lab.replicas[0].api();
    let good = sim.account().secret.clone();
    refused(
        &api,
        "backends/create",
        config(&sim, "b3RoZXI"),
        "invalid signature",
    )
    .await;
    refused(
        &api,
        "backends/create",
        config(&sim, "not base64!"),
        "base64",
    )
    .await;
    refused(&api, "backends/update", config(&sim, &good), "not found").await;
    refused(
        &api,
        "backends/create",
        json!({"type": "aws"}),
        "knows no backend aws yet",
    )
    .await;
    refused(
        &api,
        "backends/create",
        json!({"type": "cloud"}),
        "not a type of backend",
    )
    .await;
    let mut odd = config(&sim, &good);
    odd["project"] = json!("x");
    refused(&api, "backends/create", odd, "unknown field").await;
    let mut nowhere = config(&sim, &good);
    nowhere["endpoint"] = json!("http://127.0.0.1:1/v1");
    refused(&api, "backends/create", nowhere, "cannot be reached").await;
    refused(
        &api,
        "backends/create_yaml",
        json!({"config_yaml": "type: ["}),
        "YAML",
    )
    .await;
    refused(&api, "backends/crusoe/config_info", json!({}), "not found").await;
}

#[tokio::test]
async fn every_replica_offers_what_the_cloud_has_and_keeps_its_key_sealed() {
    let (lab, sim) = (Lab::started(&["a", "b", "c"]).await, sim().await);
    let secret = sim.account().secret.clone();
    let (status, made) = ask(
        &lab.replicas[0].api(),
        "backends/create",
        config(&sim, &secret),
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{made}");
    for replica in &lab.replicas {
        let api = replica.api();
        let (_, project) = api.post("/api/projects/main/get", json!({})).await.unwrap();
        assert_eq!(project["backends"][0]["name"], "crusoe");
        assert!(
            !project.to_string().contains(&secret),
            "credentials are for administrators"
        );
        let (_, whole) = ask(&api, "backends/crusoe/config_info", json!({})).await;
        assert_eq!(whole["creds"]["secret_key"], json!(secret), "{whole}");
        let (_, yaml) = ask(&api, "backends/crusoe/get_yaml", json!({})).await;
        assert!(
            yaml["config_yaml"]
                .as_str()
                .unwrap()
                .contains("project_id: sim"),
            "{yaml}"
        );
        let (_, plan) = ask(&api, "runs/get_plan", looking_around()).await;
        let offers = &plan["job_plans"][0]["offers"];
        assert_eq!(offers[0]["backend"], "crusoe", "{plan}");
        assert_eq!(offers[0]["instance"]["name"], "h100-80gb-sxm-ib.8x");
        assert_eq!(
            (&offers[0]["region"], &offers[0]["price"]),
            (&json!("us-east1-a"), &json!(31.2))
        );
        assert_eq!(offers.as_array().unwrap().len(), 1, "one region was chosen");
        let mut grouped = looking_around();
        grouped
            .as_object_mut()
            .unwrap()
            .retain(|key, _| key == "run_spec");
        grouped["group_by"] = json!(["backend"]);
        let (_, gpus) = ask(&api, "gpus/list", grouped).await;
        assert_eq!(gpus["gpus"][0]["backend"], "crusoe", "{gpus}");
        let mut fleet = looking_around();
        fleet["run_spec"]["configuration"]["fleets"] = json!(["lab"]);
        let (_, plan) = ask(&api, "runs/get_plan", fleet).await;
        assert_eq!(
            plan["job_plans"][0]["total_offers"], 0,
            "only a fleet was asked about"
        );
    }
    for replica in &lab.replicas {
        assert!(
            !crate::http::holds(&replica.dir, secret.as_bytes()),
            "the key lies in the open"
        );
    }
    let delete = json!({"backends_names": ["crusoe"]});
    let (status, _) = ask(&lab.replicas[2].api(), "backends/delete", delete).await;
    assert_eq!(status, StatusCode::OK);
    until("the offers are gone", async || {
        let (_, plan) = ask(&lab.replicas[1].api(), "runs/get_plan", looking_around()).await;
        (plan["job_plans"][0]["total_offers"] == 0).then_some(())
    })
    .await;
}
