//! Who may say what: epochs, links, clusters, homes.

use dstack_api::agent::{Ping, ShutdownRequest, down};
use tonic::Code;
use uuid::Uuid;

use crate::support::{Agent, Came, one_job, order, run, until};

/// Reads on to the end of a link; the refusal that came with it.
async fn refusal(server: &mut crate::support::Server) -> Option<(u64, String)> {
    let mut refused = None;
    loop {
        match server.next().await {
            Came::Refused(why) => refused = Some((why.epoch_seen, why.why)),
            Came::End => return refused,
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_older_epoch_is_refused_even_after_a_restart() {
    let (mut agent, mut server, id, order) = one_job("sleep 1000").await;
    server.phase(id, "running").await;
    server.want(7, 1, vec![run(&order)]).await;
    server
        .read_until("epoch 7", |s| (s.observed == (7, 1)).then_some(()))
        .await;
    agent.kill();
    agent.again().await;

    let mut deposed = agent.link().await;
    deposed.want(6, 99, vec![]).await;
    let (seen, why) = refusal(&mut deposed).await.unwrap();
    assert_eq!(seen, 7);
    assert!(why.contains("epoch 6"), "{why}");

    let mut leader = agent.link().await;
    leader.want(7, 2, vec![run(&order)]).await;
    leader
        .read_until("accepted", |s| (s.observed == (7, 2)).then_some(()))
        .await;
    assert_eq!(leader.jobs[&id].phase, "running", "the job went on");
}

#[tokio::test]
async fn a_newer_link_takes_over_and_the_older_is_told() {
    let (agent, mut first, id, order) = one_job("echo one; sleep 1000").await;
    first
        .read_until("output", |s| s.output(id).contains("one").then_some(()))
        .await;
    let mut second = agent.link().await;
    second.want(2, 1, vec![run(&order)]).await;
    second
        .read_until("accepted", |s| (s.observed == (2, 1)).then_some(()))
        .await;
    let (seen, why) = refusal(&mut first).await.unwrap();
    assert_eq!(seen, 2);
    assert!(why.contains("newer link"), "{why}");
    second.send(down::Kind::Ping(Ping { nonce: 9 })).await;
    loop {
        if let Came::Pong(nonce) = second.next().await {
            assert_eq!(nonce, 9);
            break;
        }
    }
}

#[tokio::test]
async fn a_hello_of_a_newer_leader_fences_the_older() {
    let (agent, mut old, id, order) = one_job("sleep 1000").await;
    old.phase(id, "running").await;
    let reply = agent.hello("", 5).await.unwrap();
    assert_eq!((reply.epoch_seen, reply.runtime.as_str()), (5, "process"));
    assert!(reply.facts.unwrap().cpus > 0 && !reply.boot_id.is_empty());
    old.want(1, 2, vec![]).await;
    assert_eq!(refusal(&mut old).await.unwrap().0, 5);
    let mut new = agent.link().await;
    new.want(5, 1, vec![run(&order)]).await;
    new.phase(id, "running").await;
    assert_eq!(
        agent.hello("", 3).await.unwrap().epoch_seen,
        5,
        "a deposed leader learns it"
    );
}

#[tokio::test]
async fn a_busy_host_belongs_to_its_cluster() {
    let (agent, mut server, id, order) = one_job("sleep 1000").await;
    agent.hello("one", 1).await.unwrap();
    server.want(1, 2, vec![run(&order)]).await;
    server.phase(id, "running").await;
    let refused = agent.hello("two", 9).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(
        refused.message().contains("cluster one"),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn two_agents_do_not_share_a_home() {
    let agent = Agent::start().await;
    let second = agent.command().output().unwrap();
    assert_eq!(second.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&second.stderr).contains("already serves"));
    agent.hello("", 1).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_waits_for_jobs_or_kills_them() {
    let (mut agent, mut server, id, _) = one_job("sleep 1000").await;
    server.phase(id, "running").await;
    let ask = async |force| {
        agent
            .client()
            .await
            .shutdown(ShutdownRequest { force })
            .await
            .unwrap()
            .into_inner()
    };
    let refused = ask(false).await;
    assert!(
        !refused.accepted && refused.why.contains("1 job"),
        "{refused:?}"
    );
    until("an accepted shutdown", async || {
        ask(true).await.accepted.then_some(())
    })
    .await;
    assert_eq!(agent.left().await, Some(0));
    assert!(agent.home().submissions().unwrap().is_empty());

    // Whoever comes next starts from nothing, with an epoch of its own.
    agent.again().await;
    let next = order(Uuid::new_v4(), "exit 0");
    let mut server = agent.link().await;
    server.want(1, 1, vec![run(&next)]).await;
    server.exit(next.submission_id.parse().unwrap()).await;
}

#[tokio::test]
async fn a_link_that_says_nothing_sees_the_jobs_and_no_output() {
    let (agent, mut server, id, _) = one_job("echo hidden; exit 0").await;
    server.exit(id).await;
    let mut watcher = agent.link().await;
    watcher.phase(id, "exited").await;
    watcher.send(down::Kind::Ping(Ping { nonce: 1 })).await;
    loop {
        match watcher.next().await {
            Came::Pong(_) => break,
            Came::Logs => panic!("output went to a link that speaks for nobody"),
            _ => {}
        }
    }
}
