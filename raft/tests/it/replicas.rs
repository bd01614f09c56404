//! Three real replicas of the echo machine.

use std::time::Duration;

use bytes::Bytes;
use dstack_raft::{MembershipError, ProposeError, Role, SnapshotRules, TransferError};

use crate::lab::{Lab, PATIENCE, Replica, agree, ids, leader, put, start, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_acknowledged_is_read_at_a_follower() {
    let lab = Lab::new(&["a", "b", "c"]);
    let replicas = lab.start_all().await;
    assert_eq!(ids(&replicas), [1, 2, 3]);
    let at = leader(&replicas).await;
    let done = replicas[at]
        .handle
        .propose(Bytes::from_static(b"k=v"), None)
        .await
        .unwrap();
    assert_eq!(done.reply, format!("k=v@{}", done.index));
    for replica in &replicas {
        assert!(replica.handle.read_index().await.unwrap() >= done.index);
        // The barrier has waited: no further waiting is allowed here.
        assert_eq!(replica.echo.memory().map[&b"k"[..]], "v");
        assert!(replica.echo.memory().published >= done.index);
    }
    agree(&replicas, done.index).await;
    let status = replicas[at].handle.status().unwrap();
    assert_eq!(status.members.len(), 3);
    assert!(
        status
            .members
            .iter()
            .all(|m| m.role == Role::Voter && m.matched.is_some())
    );
    let hashes: Vec<_> = replicas
        .iter()
        .map(|r| r.handle.status().unwrap().state_hash)
        .collect();
    assert!(
        hashes.iter().all(|h| *h == hashes[0] && *h != 0),
        "{hashes:?}"
    );
}

/// S1, S2, S9: nothing acknowledged is lost when the leader goes, and it comes back as a follower.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_is_replaced_and_catches_up() {
    let lab = Lab::new(&["a", "b", "c"]);
    let mut replicas = lab.start_all().await;
    let at = leader(&replicas).await;
    let before = put(&replicas, "before=1").await;
    let gone = replicas.remove(at);
    let name = lab.members[at].0.clone();
    gone.handle.shutdown().await;
    let after = put(&replicas, "after=2").await;
    assert!(after.term > before.term && after.index > before.index);
    replicas.push(start(lab.options(&name)).await.unwrap());
    agree(&replicas, after.index).await;
    let map = replicas[2].echo.memory().map;
    assert_eq!(
        (&map[&b"before"[..]][..], &map[&b"after"[..]][..]),
        (&b"1"[..], &b"2"[..])
    );
}

/// S9: after all stopped, what was acknowledged is there again before reads are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_stopped_as_a_whole_recovers_before_it_serves() {
    let lab = Lab::new(&["a", "b", "c"]);
    let replicas = lab.start_all().await;
    let mut last = 0;
    for n in 0..20 {
        last = put(&replicas, &format!("k{n}={n}")).await.index;
    }
    for replica in &replicas {
        replica.handle.shutdown().await;
    }
    drop(replicas);
    let replicas = lab.start_all().await;
    for replica in &replicas {
        let mut recovered = replica.handle.recovered();
        tokio::time::timeout(PATIENCE, recovered.wait_for(|yes| *yes))
            .await
            .unwrap()
            .unwrap();
    }
    agree(&replicas, last).await;
    assert_eq!(replicas[0].echo.memory().map.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_and_old_fences_hold() {
    let lab = Lab::new(&["a", "b", "c"]);
    let replicas = lab.start_all().await;
    let at = leader(&replicas).await;
    let term = replicas[at].handle.leadership().borrow().term;
    let fenced = replicas[at]
        .handle
        .propose(Bytes::from_static(b"k=1"), Some(term))
        .await
        .unwrap();
    assert_eq!(fenced.term, term);
    let next = replicas[at].handle.transfer_leadership().await.unwrap();
    let next = replicas.iter().position(|r| r.handle.me() == next).unwrap();
    assert_ne!(next, at);
    let mut leadership = replicas[next].handle.leadership();
    leadership.wait_for(|l| l.established).await.unwrap();
    assert!(leadership.borrow().term > term);
    // A proposal under the old leadership fails at the new leader and at the old one.
    for replica in [&replicas[next], &replicas[at]] {
        let refused = replica
            .handle
            .propose(Bytes::from_static(b"k=2"), Some(term))
            .await;
        assert_eq!(refused, Err(ProposeError::Fenced));
    }
    let mut followers = replicas[at].handle.leadership();
    followers
        .wait_for(|l| l.leader == Some(replicas[next].handle.me()))
        .await
        .unwrap();
    let elsewhere = replicas[at]
        .handle
        .propose(Bytes::from_static(b"k=3"), None)
        .await;
    assert_eq!(
        elsewhere,
        Err(ProposeError::NotLeader {
            leader: Some(replicas[next].handle.me())
        })
    );
    assert_eq!(
        replicas[at].handle.transfer_leadership().await,
        Err(TransferError::NotLeader)
    );
    agree(&replicas, fenced.index).await;
    assert_eq!(replicas[next].echo.memory().map[&b"k"[..]], "1");
}

/// S7, S10: a follower that the log cannot help any more gets a snapshot and is the same afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lags_behind_the_log_gets_a_snapshot() {
    let mut lab = Lab::new(&["a", "b", "c"]);
    lab.snapshots = SnapshotRules {
        every: 40,
        keep: 5,
        lag: 45,
        purge_batch: 1,
    };
    let mut replicas = lab.start_all().await;
    let at = leader(&replicas).await;
    let away = (at + 1) % 3;
    let name = lab.members[away].0.clone();
    let seen = put(&replicas, "first=1").await.index;
    replicas.remove(away).handle.shutdown().await;
    for n in 0..150 {
        put(&replicas, &format!("k{}={n}", n % 30)).await;
    }
    until("the log the follower needs is gone", || async {
        replicas
            .iter()
            .all(|r| r.handle.status().unwrap().purged > Some(seen + 1))
            .then_some(())
    })
    .await;
    let last = put(&replicas, "last=1").await;
    replicas.push(start(lab.options(&name)).await.unwrap());
    agree(&replicas, last.index).await;
    let status = replicas[2].handle.status().unwrap();
    assert!(status.snapshot > Some(seen), "{status:?}");
    // The installed state is durable on its own: it is loaded again after a restart.
    replicas.pop().unwrap().handle.shutdown().await;
    replicas.push(start(lab.options(&name)).await.unwrap());
    agree(&replicas, last.index).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_voter_grows_and_shrinks_without_using_an_id_twice() {
    let lab = Lab::new(&["a", "b"]);
    let first = start(lab.alone("a")).await.unwrap();
    let mut replicas = vec![first];
    put(&replicas, "k=v").await;
    let addr = lab.members[1].1.to_string();
    let id = replicas[0].handle.add_learner("b", &addr).await.unwrap();
    let taken = replicas[0].handle.add_learner("b", &addr).await;
    assert_eq!(
        taken,
        Err(MembershipError::NameTaken {
            name: "b".into(),
            id
        })
    );
    let mut options = lab.alone("b");
    options.join = vec![("a".to_owned(), lab.members[0].1.to_string())];
    replicas.push(start(options).await.unwrap());
    assert_eq!(replicas[1].handle.me(), id);
    let done = put(&replicas[..1], "k=w").await;
    agree(&replicas, done.index).await;
    assert_eq!(
        replicas[0].handle.status().unwrap().members[1].role,
        Role::Learner
    );
    replicas[0].handle.promote(id).await.unwrap();
    assert_eq!(
        replicas[0].handle.status().unwrap().members[1].role,
        Role::Voter
    );
    let done = put(&replicas, "k=x").await;
    agree(&replicas, done.index).await;
    replicas[0].handle.remove(id).await.unwrap();
    assert_eq!(replicas[0].handle.peers().list().len(), 1);
    assert_eq!(
        replicas[0].handle.promote(id).await,
        Err(MembershipError::Unknown(id))
    );
    let again = replicas[0].handle.add_learner("b", &addr).await.unwrap();
    assert!(again > id);
}

/// S11, S13, S14: a machine that cannot go on ends the replica; nobody waits for an answer for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_fails_ends_the_replica_with_its_reason() {
    let lab = Lab::new(&["a"]);
    let replica = start(lab.alone("a")).await.unwrap();
    put(std::slice::from_ref(&replica), "k=v").await;
    let fatal = replica.handle.fatal();
    let answer = replica
        .handle
        .propose(Bytes::from_static(b"!row missing"), None)
        .await;
    assert!(
        matches!(
            answer,
            Err(ProposeError::Unknown | ProposeError::Stopped(_))
        ),
        "{answer:?}"
    );
    let reason = tokio::time::timeout(PATIENCE, fatal).await.unwrap();
    assert!(reason.contains("row missing"), "{reason}");
    let later = until("the replica refuses", || async {
        replica
            .handle
            .propose(Bytes::from_static(b"k=w"), None)
            .await
            .err()
    })
    .await;
    assert!(
        matches!(later, ProposeError::Stopped(_) | ProposeError::Unknown),
        "{later:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_shutdown_is_not_fatal_and_answers_callers() {
    let lab = Lab::new(&["a"]);
    let Replica { handle, .. } = start(lab.alone("a")).await.unwrap();
    let fatal = handle.fatal();
    handle.shutdown().await;
    assert!(
        tokio::time::timeout(Duration::from_millis(200), fatal)
            .await
            .is_err()
    );
    assert!(matches!(
        handle.propose(Bytes::new(), None).await,
        Err(ProposeError::Stopped(_))
    ));
    assert!(handle.status().is_err() && handle.rows().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_proposals_are_refused_not_queued() {
    let lab = Lab::new(&["a"]);
    let mut options = lab.alone("a");
    options.max_in_flight = 0;
    let replica = start(options).await.unwrap();
    assert_eq!(
        replica.handle.propose(Bytes::new(), None).await,
        Err(ProposeError::Busy)
    );
}
