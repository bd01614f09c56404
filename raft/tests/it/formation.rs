//! How clusters come to be, and how they must not.

use dstack_raft::StartError;

use crate::lab::{Lab, agree, leader, put, start, until};

fn refusal<T>(result: Result<T, StartError>) -> String {
    match result {
        Ok(_) => panic!("started"),
        Err(e @ (StartError::Formation(_) | StartError::Options(_))) => e.to_string(),
        Err(e) => panic!("{e:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_lists_are_refused_and_both_are_named() {
    let lab = Lab::new(&["a", "b", "c"]);
    let other = lab.options("b");
    let mut options = lab.options("a");
    options.initial.pop();
    let (a, b) = tokio::join!(start(options), async {
        // Waits for the others until it hears of a list that is not its own.
        start(other).await
    });
    for said in [refusal(a), refusal(b)] {
        let full: Vec<String> = lab
            .members
            .iter()
            .map(|(n, addr)| format!("{n}={addr}"))
            .collect();
        assert!(
            said.contains(&full.join(",")) && said.contains(&full[..2].join(",")),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_disk_does_not_come_back_under_its_old_id() {
    let lab = Lab::new(&["a", "b", "c"]);
    let mut replicas = lab.start_all().await;
    leader(&replicas).await;
    let met =
        |name: &str| std::fs::read_to_string(lab.data_dir(name).join("PEERS")).unwrap_or_default();
    until("the others have met it", || async {
        (met("a").lines().any(|l| l == "3") && met("b").lines().any(|l| l == "3")).then_some(())
    })
    .await;
    replicas.pop().unwrap().handle.shutdown().await;
    std::fs::remove_dir_all(lab.data_dir("c")).unwrap();
    let said = refusal(start(lab.options("c")).await);
    assert!(
        said.contains("data directory is empty") && said.contains(&replicas[0].handle.cluster_id()),
        "{said}"
    );
    // Only its identity survived: its log is what promises were made with.
    let identity = lab.data_dir("b").join("IDENTITY");
    let kept = std::fs::read(&identity).unwrap();
    let formed = lab.data_dir("b").join("FORMED");
    until("b wrote down that it is a member", || async {
        formed.exists().then_some(())
    })
    .await;
    replicas.pop().unwrap().handle.shutdown().await;
    std::fs::remove_dir_all(lab.data_dir("b")).unwrap();
    std::fs::create_dir_all(lab.data_dir("b")).unwrap();
    std::fs::write(&identity, kept).unwrap();
    std::fs::write(&formed, b"").unwrap();
    let said = refusal(start(lab.options("b")).await);
    assert!(said.contains("its log is empty"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_member_finds_its_place_and_restarts_need_no_list() {
    let lab = Lab::new(&["a", "b", "c"]);
    let (a, b, c) = tokio::join!(start(lab.options("a")), start(lab.options("b")), async {
        // The first two can do nothing yet: all must hold the same list before the founding.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        assert!(!lab.data_dir("a").join("IDENTITY").exists());
        start(lab.options("c")).await
    });
    let mut replicas = vec![a.unwrap(), b.unwrap(), c.unwrap()];
    let done = put(&replicas, "k=v").await;
    agree(&replicas, done.index).await;
    replicas.pop().unwrap().handle.shutdown().await;
    replicas.push(start(lab.alone("c")).await.unwrap());
    assert_eq!(replicas[2].handle.me(), 3);
    let done = put(&replicas, "k=w").await;
    agree(&replicas, done.index).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_cannot_work_are_refused_with_the_reason() {
    let lab = Lab::new(&["a", "b"]);
    let mut twice = lab.options("a");
    twice.initial.push(twice.initial[0].clone());
    assert!(refusal(start(twice).await).contains("names a twice"));
    let mut absent = lab.options("a");
    absent.initial.remove(0);
    assert!(refusal(start(absent).await).contains("not in the initial cluster"));
    let mut borrowed = lab.options("a");
    borrowed.tls = lab.ca.issue("b", &[]).unwrap();
    assert!(refusal(start(borrowed).await).contains("certificate is for \"b\""));
    let mut hasty = lab.options("a");
    hasty.timings.election_min = 150;
    assert!(refusal(start(hasty).await).contains("three heartbeats"));
    start(lab.alone("a")).await.unwrap().handle.shutdown().await;
    let mut moved = lab.alone("b");
    moved.data_dir = lab.data_dir("a");
    let said = refusal(start(moved).await);
    assert!(said.contains("belongs to replica \"a\""), "{said}");
}
