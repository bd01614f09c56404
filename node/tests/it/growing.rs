//! A single voter becomes a cluster, and loses its first member.

use http::StatusCode;
use serde_json::{Value, json};

use crate::lab::{Api, Lab, Replica, TOKEN, free_port, until};

fn member(lab: &Lab, name: &str, port: u16, join: Option<&str>) -> Replica {
    let tls = lab.dir.path().join("keys").join(name);
    let listen = format!("127.0.0.1:{port}");
    let mut flags = vec![
        "--token",
        TOKEN,
        "--node-name",
        name,
        "--peer-listen",
        &listen,
    ];
    flags.extend(["--tls-dir", tls.to_str().unwrap()]);
    flags.extend(join.iter().flat_map(|list| ["--join", *list]));
    Replica::new(&lab.dir.path().join("grown"), name, &flags)
}

async fn change(api: &Api, verb: &str, body: Value) -> Value {
    let (status, answer) = api
        .post(&format!("/api/cluster/{verb}"), body)
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK, "{verb}: {answer}");
    answer
}

#[tokio::test]
async fn a_single_replica_grows_to_three_and_its_first_member_can_go() {
    // Only the keys of this lab are used.
    let lab = Lab::new(&["a", "b", "c"]);
    let ports = [free_port(), free_port(), free_port()];
    // It begins without an address for peers, as one does who only tries it out.
    let mut a = member(&lab, "a", 0, None);
    a.start();
    a.api().ready().await;
    assert!(a.terminate().await.success());
    a = member(&lab, "a", ports[0], None);
    a.start();
    let api = a.api();
    api.ready().await;
    let own = format!("127.0.0.1:{}", ports[0]);
    until("its address is known", async || {
        let (_, seen) = api.post("/api/cluster/status", json!({})).await.ok()?;
        (seen["members"][0]["address"] == own.as_str()).then_some(())
    })
    .await;
    let secret = json!({"name": "early", "value": "x"});
    let (status, _) = api
        .post("/api/project/main/secrets/create_or_update", secret)
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK);

    let join = format!("a=127.0.0.1:{}", ports[0]);
    let mut others = Vec::new();
    for (name, port) in [("b", ports[1]), ("c", ports[2])] {
        change(
            &api,
            "add",
            json!({"name": name, "address": format!("127.0.0.1:{port}")}),
        )
        .await;
        let mut replica = member(&lab, name, port, Some(&join));
        replica.start();
        replica.api().ready().await;
        change(&api, "promote", json!({"name": name})).await;
        others.push(replica);
    }
    let apis: Vec<Api> = others.iter().map(Replica::api).collect();
    let seen = change(&apis[0], "promote", json!({"name": "c"})).await;
    let voters = seen["members"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|member| member["role"] == "voter");
    assert_eq!(voters.count(), 3, "{seen}");

    let (status, refused) = apis[0]
        .post("/api/cluster/remove", json!({"name": "nobody"}))
        .await
        .unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");

    a.kill();
    for api in &apis {
        let secrets = until("the rest goes on", async || Some(api.secrets().await)).await;
        assert_eq!(secrets, ["early"]);
    }
    let seen = change(&apis[1], "remove", json!({"name": "a"})).await;
    assert_eq!(seen["members"].as_array().unwrap().len(), 2, "{seen}");
}
