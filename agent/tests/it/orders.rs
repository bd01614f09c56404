//! What an order brings: variables, secrets, archives, code, users.

use std::collections::BTreeMap;
use std::fs;

use dstack_api::agent::{DesiredJob, Phase};
use dstack_api::agent_job::{Cluster, CodeArchive, OrderArchive, OrderRepo, OrderUser};
use uuid::Uuid;

use crate::support::{Agent, Server, order, run, sha256, until, with_phase};

fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

async fn linked(jobs: Vec<DesiredJob>) -> (Agent, Server) {
    let agent = Agent::start().await;
    let server = agent.link().await;
    server.want(1, 1, jobs).await;
    (agent, server)
}

#[tokio::test]
async fn the_documented_variables_reach_the_command() {
    let id = Uuid::new_v4();
    let mut order = order(id, "env; echo; cat $DSTACK_MPI_HOSTFILE; pwd");
    order.node_rank = 1;
    order.repo_id = Some("repo".into());
    order.cluster = Cluster {
        job_ips: vec!["10.0.0.1".into(), "10.0.0.2".into()],
        master_ip: "10.0.0.1".into(),
        gpus_per_job: vec![2, 2],
        gpus_per_node: 2,
    };
    order.env = BTreeMap::from([
        ("MINE".into(), "yes".into()),
        ("DSTACK_GPUS_NUM".into(), "overridden".into()),
    ]);
    let (agent, mut server) = linked(vec![run(&order)]).await;
    server.exit(id).await;
    let output = server.output(id);
    let root = agent.job(id).root().canonicalize().unwrap();
    let root = root.display();
    for line in [
        format!("DSTACK_RUN_ID={}", order.run_id),
        format!("DSTACK_JOB_ID={id}"),
        "DSTACK_RUN_NAME=run".into(),
        "DSTACK_REPO_ID=repo".into(),
        format!("DSTACK_REPO_DIR={root}/root/workflow"),
        format!("DSTACK_WORKING_DIR={root}/root/workflow"),
        "DSTACK_NODES_IPS=10.0.0.1\n10.0.0.2".into(),
        "DSTACK_MASTER_NODE_IP=10.0.0.1".into(),
        "DSTACK_NODE_RANK=1".into(),
        "DSTACK_NODES_NUM=2".into(),
        "DSTACK_GPUS_PER_NODE=2".into(),
        "DSTACK_GPUS_NUM=overridden".into(),
        format!("DSTACK_MPI_HOSTFILE={root}/root/dstack/mpi/hostfile"),
        "MINE=yes".into(),
        "10.0.0.1 slots=2\n10.0.0.2 slots=2".into(),
        format!("{root}/root/workflow"),
    ] {
        assert!(
            output.contains(&format!("{line}\n")),
            "missing {line} in:\n{output}"
        );
    }
    assert!(output.lines().any(|line| line.starts_with("HOME=/")));
    assert!(
        !output.contains("not-for-jobs"),
        "the agent's own variables"
    );
    assert!(
        root.to_string().len() < 200 && agent.job(id).root().join("root/dstack/profile").exists()
    );
}

#[tokio::test]
async fn secrets_reach_the_command_and_leave_the_disk() {
    let id = Uuid::new_v4();
    let order = order(id, "echo it has ${#TOKEN} characters; sleep 1000");
    let job = DesiredJob {
        secret_env: [("TOKEN".to_owned(), "s3cr3t-value".to_owned())].into(),
        ..run(&order)
    };
    let (agent, mut server) = linked(vec![job]).await;
    server
        .read_until("the secret", |s| {
            s.output(id).contains("it has 12 characters").then_some(())
        })
        .await;
    let mut folders = vec![agent.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.metadata().unwrap() {
                meta if meta.is_dir() => folders.push(entry.path()),
                meta if meta.is_file() && !entry.path().ends_with("dstack/profile") => {
                    let bytes = fs::read(entry.path()).unwrap();
                    let found = bytes.windows(12).any(|part| part == b"s3cr3t-value");
                    assert!(!found, "the secret lies in {}", entry.path().display());
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_job_waits_for_its_archives() {
    let archive = tar_of(&[("data/a.txt", "A\n"), ("data/sub/b.txt", "B\n")]);
    let id = Uuid::new_v4();
    let mut order = order(id, "cat input/a.txt input/sub/b.txt");
    order.archives = vec![OrderArchive {
        sha256: sha256(&archive),
        path: "input".into(),
    }];
    let (agent, mut server) = linked(vec![run(&order)]).await;
    let waiting = server.phase(id, "waiting-archives").await;
    assert_eq!(waiting.archives_missing, [sha256(&archive)]);

    let wrong = agent
        .put_archive(&sha256(b"other"), &archive)
        .await
        .unwrap_err();
    assert!(wrong.message().contains("digest"), "{wrong}");
    assert!(agent.put_archive("../../etc/x", &archive).await.is_err());
    agent
        .put_archive(&sha256(&archive), &archive)
        .await
        .unwrap();
    agent
        .put_archive(&sha256(&archive), &archive)
        .await
        .unwrap();
    assert_eq!(server.exit(id).await.exit_status, 0);
    assert_eq!(server.output(id), "A\nB\n");
}

#[tokio::test]
async fn local_code_lies_in_the_working_folder() {
    let code = tar_of(&[("train.sh", "echo trained\n")]);
    let id = Uuid::new_v4();
    let mut order = order(id, "sh train.sh");
    order.repo = Some(OrderRepo {
        kind: "local".into(),
        dir: Some("/workflow".into()),
        ..OrderRepo::default()
    });
    order.code_archive = Some(CodeArchive {
        sha256: sha256(&code),
    });
    let agent = Agent::start().await;
    agent.put_archive(&sha256(&code), &code).await.unwrap();
    let mut server = agent.link().await;
    server.want(1, 1, vec![run(&order)]).await;
    server.exit(id).await;
    assert_eq!(server.output(id), "trained\n");
}

#[tokio::test]
async fn a_repo_that_cannot_be_cloned_says_so() {
    let id = Uuid::new_v4();
    let mut order = order(id, "true");
    let url = "file:///no/such/repo".to_owned();
    order.repo = Some(OrderRepo {
        kind: "remote".into(),
        clone_url: Some(url),
        ..OrderRepo::default()
    });
    let (_agent, mut server) = linked(vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.reason.as_str(), job.has_exit_status),
        ("container_exited_with_error", false)
    );
    assert!(job.message.contains("git clone failed"), "{}", job.message);
}

#[tokio::test]
async fn an_order_that_cannot_be_read_ends_with_the_reason() {
    let id = Uuid::new_v4();
    let job = DesiredJob {
        spec_json: "{\"nonsense\":1}".into(),
        ..run(&order(id, "true"))
    };
    let (_agent, mut server) = linked(vec![job]).await;
    let job = server.phase(id, "exited").await;
    assert_eq!(job.reason, "executor_error");
    assert!(job.message.contains("order"), "{}", job.message);
}

#[tokio::test]
async fn a_volume_that_needs_a_container_is_refused() {
    let id = Uuid::new_v4();
    let mut order = order(id, "true");
    order.mounts = vec![dstack_api::agent_job::OrderMount {
        instance_path: "/a".into(),
        path: "/b".into(),
        optional: false,
    }];
    let (_agent, mut server) = linked(vec![run(&order)]).await;
    let job = server.phase(id, "exited").await;
    assert_eq!(job.reason, "creating_container_error");
    assert!(job.message.contains("/a:/b"), "{}", job.message);
}

#[tokio::test]
async fn a_job_stopped_before_it_started_never_runs() {
    let id = Uuid::new_v4();
    let mut order = order(id, "touch ../../ran");
    order.archives = vec![OrderArchive {
        sha256: sha256(b"never brought"),
        path: "x".into(),
    }];
    let (agent, mut server) = linked(vec![run(&order)]).await;
    server.phase(id, "waiting-archives").await;
    server
        .want(1, 2, vec![with_phase(&order, Phase::Stop, 10)])
        .await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.reason.as_str(), job.has_exit_status),
        ("terminated_by_server", false)
    );
    assert!(!agent.job(id).root().join("ran").exists());
}

#[tokio::test]
async fn an_unknown_user_is_named() {
    let id = Uuid::new_v4();
    let mut order = order(id, "true");
    order.user = Some(OrderUser {
        username: Some("no-such-user".into()),
        ..OrderUser::default()
    });
    let (_agent, mut server) = linked(vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!(job.reason, "executor_error");
    assert!(job.message.contains("no-such-user"), "{}", job.message);
}

#[tokio::test]
async fn a_root_agent_runs_a_job_as_its_user() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to change users");
        return;
    }
    let id = Uuid::new_v4();
    let mut order = order(
        id,
        "id -u; id -g; touch mine && cat ../../order.json || echo closed",
    );
    order.user = Some(OrderUser {
        username: Some("nobody".into()),
        ..OrderUser::default()
    });
    let (_agent, mut server) = linked(vec![run(&order)]).await;
    let job = server.exit(id).await;
    let output = server.output(id);
    assert!(
        output.starts_with("65534\n65534\n") && output.ends_with("closed\n"),
        "{output}"
    );
    assert_eq!((job.exit_status, job.user.as_str()), (0, "nobody"));
}

#[tokio::test]
async fn limits_are_enforced_where_the_host_allows_it() {
    let id = Uuid::new_v4();
    let script = "if [ -e /sys/fs/cgroup/cgroup.controllers ]; then \
         cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max; else \
         cat /sys/fs/cgroup/memory$(grep :memory: /proc/self/cgroup | cut -d: -f3)/memory.limit_in_bytes; fi";
    let mut order = order(id, script);
    order.memory_limit_bytes = Some(64 << 20);
    order.cpu_limit = Some(1.0);
    let (_agent, mut server) = linked(vec![run(&order)]).await;
    server.exit(id).await;
    if server.text(id, "runner").contains("not enforced") {
        eprintln!("skipped: {}", server.text(id, "runner"));
        return;
    }
    assert_eq!(server.output(id), "67108864\n");
    server.want(1, 2, vec![]).await;
    server
        .read_until("forgotten", |s| s.jobs.is_empty().then_some(()))
        .await;
    for hierarchy in ["", "memory/", "cpu/"] {
        let group = format!("/sys/fs/cgroup/{hierarchy}dstack-agent/{id}");
        let group = std::path::Path::new(&group);
        until("the group is gone", async || {
            (!group.exists()).then_some(())
        })
        .await;
    }
}
