//! Output: resumed where the server says, bounded, without loss.

use dstack_api::frames;
use uuid::Uuid;

use crate::support::{Agent, Came, one_job, order, run};

#[tokio::test]
async fn a_new_link_resumes_where_the_server_says() {
    let (agent, mut server, id, order) = one_job("seq 1 20000; exit 0").await;
    server.exit(id).await;
    let (_, all) = server.logs.remove(&(id, "job".into())).unwrap();
    // Somewhere in the middle, where a frame begins.
    let mut frames = frames::Frames::new(&all);
    let _ = frames.by_ref().take(12_345).count();
    let cut = frames.position();
    drop(server);

    let mut server = agent.link().await;
    server.resume_at(id, "job", cut as u64);
    server.want(2, 1, vec![run(&order)]).await;
    server.exit(id).await;
    let (base, rest) = server.logs.remove(&(id, "job".into())).unwrap();
    assert_eq!(base, cut as u64);
    assert_eq!(rest, &all[cut..], "the same bytes as the first time");
}

#[tokio::test]
async fn a_server_that_does_not_acknowledge_is_not_flooded() {
    let id = Uuid::new_v4();
    let order = order(
        id,
        "head -c 3000000 /dev/zero | tr '\\0' 'x' | fold -w 99; exit 0",
    );
    let agent = Agent::start().await;
    let mut server = agent.link().await;
    server.ack = false;
    server.want(1, 1, vec![run(&order)]).await;
    let end = server.phase(id, "exited").await.job_log_end;
    assert!(end > 3_000_000);
    server
        .read_until("the window is full", |s| {
            (s.end(id, "job") > 1024 * 1024).then_some(())
        })
        .await;
    let held = server.end(id, "job");
    assert!(held <= 1024 * 1024 + 256 * 1024, "{held}");
    // A pong comes after whatever the agent would still have sent.
    server
        .send(dstack_api::agent::down::Kind::Ping(
            dstack_api::agent::Ping { nonce: 1 },
        ))
        .await;
    while !matches!(server.next().await, Came::Pong(_)) {}
    assert_eq!(server.end(id, "job"), held);
    server.ack = true;
    server.ack(id, "job", held).await;
    server.exit(id).await;
    assert_eq!(server.end(id, "job"), end);
}

#[tokio::test]
async fn nothing_is_sent_before_the_server_says_where_to_begin() {
    let (agent, mut server, id, order) = one_job("echo all of it").await;
    server.exit(id).await;
    let mut server = agent.link().await;
    server.resume = None;
    server.want(2, 1, vec![run(&order)]).await;
    server.phase(id, "exited").await;
    server
        .read_until("epoch 2", |s| (s.observed == (2, 1)).then_some(()))
        .await;
    for nonce in 0..3 {
        let ping = dstack_api::agent::Ping { nonce };
        server.send(dstack_api::agent::down::Kind::Ping(ping)).await;
        while !matches!(server.next().await, Came::Pong(_)) {}
    }
    assert!(server.chunks.is_empty());
    server.ack(id, "job", 0).await;
    server.ack(id, "runner", 0).await;
    server.exit(id).await;
    assert_eq!(server.output(id), "all of it\n");
}

#[tokio::test]
async fn a_line_without_an_end_is_seen_and_escapes_are_not() {
    let (_agent, mut server, id, _) =
        one_job("printf '\\033[31mpassword:\\033[0m '; sleep 1000").await;
    server
        .read_until("the prompt", |s| {
            (s.output(id) == "password: ").then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_job_that_writes_too_much_is_ended() {
    let id = Uuid::new_v4();
    let mut order = order(id, "while :; do echo 0123456789; done");
    order.log_quota_hour_bytes = Some(100_000);
    let agent = Agent::start().await;
    let mut server = agent.link().await;
    server.want(1, 1, vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!(job.reason, "log_quota_exceeded");
    assert_eq!(server.output(id).len(), 100_000);
}
