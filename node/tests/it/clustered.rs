//! Three replicas: any of them serves, and any of them may die.

use http::StatusCode;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::lab::{Api, Lab, Replica, until};
use crate::writers::Writers;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A list of replicas to go through, beginning with each of them once.
fn rotations(apis: &[Api]) -> Vec<Vec<Api>> {
    (0..apis.len())
        .map(|first| {
            (0..apis.len())
                .map(|at| apis[(first + at) % apis.len()].clone())
                .collect()
        })
        .collect()
}

fn apis(lab: &Lab) -> Vec<Api> {
    lab.replicas.iter().map(Replica::api).collect()
}

#[tokio::test]
async fn a_write_through_a_follower_is_read_at_once_everywhere() {
    let lab = Lab::started(&NAMES).await;
    let leader = lab.leader().await;
    let apis = apis(&lab);
    for round in 0..20 {
        let name = format!("s{round}");
        let body = json!({"name": name, "value": "x"});
        let writer = &apis[(leader + 1 + round % 2) % 3];
        let (status, answer) = writer
            .post("/api/project/main/secrets/create_or_update", body)
            .await
            .unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
        for api in &apis {
            assert!(api.secrets().await.contains(&name), "round {round}");
        }
    }
    let (_, status) = apis[(leader + 1) % 3]
        .post("/api/cluster/status", json!({}))
        .await
        .unwrap();
    let members = status["members"].as_array().unwrap();
    assert_eq!(members.len(), 3, "{status}");
    assert!(
        members
            .iter()
            .all(|member| member["reachable"] == true && !member["lag"].is_null()),
        "{status}"
    );
}

#[tokio::test]
async fn the_leaders_death_loses_no_acknowledged_write_and_shows_no_error() {
    let mut lab = Lab::started(&NAMES).await;
    let apis = apis(&lab);
    let writers = Writers::start(rotations(&apis));
    writers.progress(30).await;
    let leader = lab.leader().await;
    lab.replicas[leader].kill();
    writers.progress(60).await;
    let heir = lab.leader().await;
    assert_ne!(heir, leader);
    lab.replicas[leader].start();
    lab.replicas[leader].api().ready().await;
    writers.progress(30).await;
    let record = writers.stop().await;
    for api in &apis {
        record.judge(&api.secrets().await);
    }
}

#[tokio::test]
async fn a_leader_that_stands_still_is_replaced_and_does_no_harm_when_it_wakes() {
    let lab = Lab::started(&NAMES).await;
    let apis = apis(&lab);
    let leader = lab.leader().await;
    let frozen = &lab.replicas[leader];
    // The clients of the others: one that is connected to the frozen replica waits with it.
    let rest: Vec<Api> = apis
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != leader)
        .map(|(_, api)| api.clone())
        .collect();
    let writers = Writers::start(rotations(&rest));
    writers.progress(20).await;
    frozen.signal(Signal::SIGSTOP);
    writers.progress(40).await;
    frozen.signal(Signal::SIGCONT);
    writers.progress(20).await;
    let record = writers.stop().await;
    for api in &apis {
        record.judge(&api.secrets().await);
    }
}

#[tokio::test]
async fn a_rolling_restart_fails_no_request() {
    let mut lab = Lab::started(&NAMES).await;
    let apis = apis(&lab);
    let writers = Writers::start(rotations(&apis));
    writers.progress(20).await;
    // The leader first, so that each of its heirs is stopped while it leads, or soon after.
    for _ in 0..3 {
        let leader = lab.leader().await;
        let ended = lab.replicas[leader].terminate().await;
        assert!(ended.success(), "{ended}");
        writers.progress(20).await;
        lab.replicas[leader].start();
        lab.replicas[leader].api().ready().await;
    }
    writers.progress(20).await;
    let record = writers.stop().await;
    record.judge(&apis[0].secrets().await);
}

#[tokio::test]
async fn the_death_of_all_three_loses_no_acknowledged_write() {
    let mut lab = Lab::started(&NAMES).await;
    let apis = apis(&lab);
    let writers = Writers::start(rotations(&apis));
    writers.progress(60).await;
    lab.replicas.iter_mut().for_each(Replica::kill);
    lab.replicas.iter_mut().for_each(Replica::start);
    writers.progress(30).await;
    let record = writers.stop().await;
    for api in &apis {
        api.ready().await;
        record.judge(&api.secrets().await);
    }
}

#[tokio::test]
async fn a_follower_that_was_away_catches_up() {
    let mut lab = Lab::started(&NAMES).await;
    let leader = lab.leader().await;
    let away = (leader + 1) % 3;
    lab.replicas[away].kill();
    let api = lab.replicas[leader].api();
    for number in 0..30 {
        let body = json!({"name": format!("n{number}"), "value": "x"});
        let (status, _) = api
            .post("/api/project/main/secrets/create_or_update", body)
            .await
            .unwrap();
        assert_eq!(status, StatusCode::OK);
    }
    lab.replicas[away].start();
    lab.replicas[away].api().ready().await;
    assert_eq!(lab.replicas[away].api().secrets().await.len(), 30);
    until("all replicas hold the same state", async || {
        let (_, status) = api.post("/api/cluster/status", json!({})).await.ok()?;
        let members = status["members"].as_array()?;
        let hashes: Vec<_> = members
            .iter()
            .map(|member| (&member["applied_index"], &member["state_hash"]))
            .collect();
        (hashes.len() == 3
            && !hashes[0].1.is_null()
            && hashes.iter().all(|hash| *hash == hashes[0]))
        .then_some(())
    })
    .await;
}

#[tokio::test]
async fn events_are_forgotten_by_all_replicas_when_their_time_is_over() {
    let mut lab = Lab::new(&["a", "b", "c"]);
    for replica in &mut lab.replicas {
        let kept = ("DSTACK_SERVER_EVENTS_TTL_SECONDS", "3".to_owned());
        replica.variables.push(kept);
        replica.start();
    }
    let events = async |replica: &Replica| -> Vec<String> {
        let (status, list) = replica
            .api()
            .post("/api/events/list", json!({}))
            .await
            .unwrap();
        assert_eq!(status, StatusCode::OK, "{list}");
        let list = list.as_array().unwrap().iter();
        list.map(|event| event["message"].as_str().unwrap().to_owned())
            .collect()
    };
    for replica in &lab.replicas {
        replica.api().ready().await;
    }
    let secret = json!({"name": "one", "value": "1"});
    let (status, _) = lab.replicas[0]
        .api()
        .post("/api/project/main/secrets/create_or_update", secret)
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(events(&lab.replicas[1]).await[0], "Secret created");
    for replica in &lab.replicas {
        until("the events are gone", async || {
            events(replica).await.is_empty().then_some(())
        })
        .await;
        assert_eq!(replica.api().secrets().await, ["one"]);
    }
}
