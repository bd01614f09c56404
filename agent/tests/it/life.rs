//! How jobs live and end, whoever dies meanwhile.

use std::fs;

use dstack_agent::record::Claim;
use dstack_api::agent::{Phase, phase};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uuid::Uuid;

use crate::support::{Agent, is_alive, one_job, order, run, until, with_phase};

#[tokio::test]
async fn a_job_that_ends_well() {
    let (_agent, mut server, id, _) = one_job("echo hello && echo world >&2").await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.has_exit_status, job.exit_status, job.reason.as_str()),
        (true, 0, "done_by_runner")
    );
    assert_eq!(server.output(id), "hello\nworld\n", "no noise of the shell");
    assert!(job.started_at_us > 0 && job.finished_at_us >= job.started_at_us);
    assert!(
        !job.user.is_empty() && job.working_dir.ends_with("/workflow"),
        "{job:?}"
    );
    assert!(server.text(id, "runner").contains("done_by_runner"));
}

#[tokio::test]
async fn exit_statuses_and_signals_are_told_apart() {
    let (_agent, mut server, id, _) = one_job("echo last words; exit 3").await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.exit_status, job.signal, job.reason.as_str()),
        (3, 0, "container_exited_with_error")
    );
    assert!(
        job.message.starts_with("exit status 3") && job.message.contains("last words"),
        "{}",
        job.message
    );

    let (_agent, mut server, id, _) = one_job("kill -9 $$").await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.exit_status, job.signal, job.reason.as_str()),
        (137, 9, "container_exited_with_error")
    );
}

#[tokio::test]
async fn bash_says_nothing_about_job_control() {
    let id = Uuid::new_v4();
    let mut order = order(id, "");
    order.commands = ["/bin/bash", "-i", "-c", "echo one && echo two"]
        .map(String::from)
        .to_vec();
    let agent = Agent::start().await;
    let mut server = agent.link().await;
    server.want(1, 1, vec![run(&order)]).await;
    server.exit(id).await;
    assert_eq!(server.output(id), "one\ntwo\n");
}

#[tokio::test]
async fn a_command_that_is_not_there() {
    let id = Uuid::new_v4();
    let mut order = order(id, "");
    order.commands = vec!["/no/such/shell".into()];
    let agent = Agent::start().await;
    let mut server = agent.link().await;
    server.want(1, 1, vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.exit_status, job.reason.as_str()),
        (127, "container_exited_with_error")
    );
    assert!(server.output(id).contains("/no/such/shell"));
}

#[tokio::test]
async fn a_stop_interrupts_and_waits() {
    let script = "trap 'echo bye; exit 0' INT; echo ready; while :; do sleep 0.1; done";
    let (_agent, mut server, id, order) = one_job(script).await;
    server
        .read_until("ready", |s| s.output(id).contains("ready").then_some(()))
        .await;
    server
        .want(1, 2, vec![with_phase(&order, Phase::Stop, 30)])
        .await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.exit_status, job.reason.as_str()),
        (0, "terminated_by_server")
    );
    assert!(
        server.output(id).ends_with("bye\n"),
        "{}",
        server.output(id)
    );
}

#[tokio::test]
async fn a_stop_ends_a_whole_command_line_of_an_interactive_bash() {
    let id = Uuid::new_v4();
    let mut order = order(id, "");
    order.commands = [
        "/bin/bash",
        "-i",
        "-c",
        "echo ready && sleep 1000 && echo after",
    ]
    .map(String::from)
    .to_vec();
    let agent = Agent::start().await;
    let mut server = agent.link().await;
    server.want(1, 1, vec![run(&order)]).await;
    server
        .read_until("ready", |s| s.output(id).contains("ready").then_some(()))
        .await;
    server
        .want(1, 2, vec![with_phase(&order, Phase::Stop, 600)])
        .await;
    let job = server.exit(id).await;
    assert_eq!(job.reason, "terminated_by_server");
    assert!(!server.output(id).contains("after"));
}

#[tokio::test]
async fn a_job_that_ignores_the_stop_is_killed_after_the_grace() {
    let (_agent, mut server, id, order) =
        one_job("trap '' INT HUP TERM; echo ready; while :; do sleep 0.1; done").await;
    server
        .read_until("ready", |s| s.output(id).contains("ready").then_some(()))
        .await;
    server
        .want(1, 2, vec![with_phase(&order, Phase::Stop, 1)])
        .await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.signal, job.reason.as_str()),
        (9, "terminated_by_server")
    );
}

#[tokio::test]
async fn a_kill_is_at_once_and_keeps_the_last_output() {
    let (_agent, mut server, id, order) =
        one_job("trap '' INT HUP TERM; echo ready; while :; do sleep 0.1; done").await;
    server
        .read_until("ready", |s| s.output(id).contains("ready").then_some(()))
        .await;
    server
        .want(1, 2, vec![with_phase(&order, Phase::Kill, 0)])
        .await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.signal, job.reason.as_str()),
        (9, "terminated_by_server")
    );
    assert!(server.output(id).contains("ready"));
}

#[tokio::test]
async fn what_a_job_leaves_running_ends_with_it() {
    let (_agent, mut server, id, _) =
        one_job("sleep 1000 & echo $!; setsid sleep 1000 & echo $!; exit 0").await;
    let job = server.exit(id).await;
    assert_eq!(job.exit_status, 0);
    let pids: Vec<i32> = server
        .output(id)
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert_eq!(pids.len(), 2, "{}", server.output(id));
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

#[tokio::test]
async fn a_job_does_not_outlive_its_max_duration() {
    let id = Uuid::new_v4();
    let mut order = order(id, "sleep 1000");
    order.max_duration_s = Some(1);
    let agent = Agent::start().await;
    let mut server = agent.link().await;
    server.want(1, 1, vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!(job.reason, "max_duration_exceeded");
}

#[tokio::test]
async fn the_agents_death_costs_no_line_and_starts_nothing_twice() {
    let count = "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.01; done";
    let (mut agent, mut server, id, order) =
        one_job(&format!("echo started >>../../starts; {count}; exit 4")).await;
    server
        .read_until("some output", |s| {
            s.output(id).contains("20\n").then_some(())
        })
        .await;
    let runner = server.jobs[&id].started_at_us;
    let (_, mut bytes) = server.logs.remove(&(id, "job".into())).unwrap();
    agent.kill();
    agent.again().await;

    let mut server = agent.link().await;
    server.resume_at(id, "job", bytes.len() as u64);
    server.want(1, 2, vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!((job.exit_status, job.started_at_us), (4, runner));
    let (base, rest) = server.logs.remove(&(id, "job".into())).unwrap();
    assert_eq!(base, bytes.len() as u64);
    bytes.extend_from_slice(&rest);
    let text: Vec<u8> = dstack_api::frames::Frames::new(&bytes)
        .flat_map(|frame| frame.unwrap().payload.to_vec())
        .collect();
    let expected: String = (0..300).map(|n| format!("{n}\n")).collect();
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    let starts = fs::read_to_string(agent.job(id).root().join("starts")).unwrap();
    assert_eq!(starts, "started\n");
}

#[tokio::test]
async fn an_agent_killed_at_any_moment_of_a_start_starts_each_job_once() {
    let mut agent = Agent::start().await;
    let orders: Vec<_> = (0..10)
        .map(|_| order(Uuid::new_v4(), "echo started >>../../starts; echo done"))
        .collect();
    let jobs: Vec<_> = orders.iter().map(run).collect();
    for generation in 1..=12_u64 {
        let mut server = agent.link().await;
        // One more job each time, so that every life of the agent has something to start.
        let wanted = jobs
            .iter()
            .take(usize::try_from(generation).unwrap())
            .cloned();
        server.want(1, generation, wanted.collect()).await;
        server
            .read_until("accepted", |s| (s.observed.1 == generation).then_some(()))
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(generation * 7)).await;
        agent.kill();
        agent.again().await;
    }
    let mut server = agent.link().await;
    server.want(1, 13, jobs).await;
    for order in &orders {
        let id = order.submission_id.parse().unwrap();
        assert_eq!(server.exit(id).await.reason, "done_by_runner");
        assert_eq!(server.output(id), "done\n");
        let starts = fs::read_to_string(agent.job(id).root().join("starts")).unwrap();
        assert_eq!(starts, "started\n");
    }
}

#[tokio::test]
async fn an_end_while_the_agent_is_dead_is_found() {
    let (mut agent, mut server, id, order) =
        one_job("echo ready; while [ ! -e go ]; do sleep 0.05; done; exit 5").await;
    server
        .read_until("ready", |s| s.output(id).contains("ready").then_some(()))
        .await;
    agent.kill();
    fs::write(agent.job(id).root().join("root/workflow/go"), "").unwrap();
    let exit = agent.job(id).exit();
    until("the runner's exit record", async || {
        exit.exists().then_some(())
    })
    .await;
    agent.again().await;
    let mut server = agent.link().await;
    server.want(1, 2, vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.exit_status, server.output(id).as_str()),
        (5, "ready\n")
    );
}

#[tokio::test]
async fn a_runner_that_is_killed_takes_its_job_along() {
    let (agent, mut server, id, order) = one_job("sleep 1000 & echo $!; wait").await;
    let child = server
        .read_until("a pid", |s| s.output(id).trim().parse::<i32>().ok())
        .await;
    let claim: Claim = dstack_agent::durable::read_json(&agent.job(id).claim())
        .unwrap()
        .unwrap();
    kill(Pid::from_raw(claim.process.pid), Signal::SIGKILL).unwrap();
    let job = server.phase(id, "exited").await;
    assert_eq!(
        (job.has_exit_status, job.reason.as_str()),
        (false, "executor_error")
    );
    assert!(job.message.contains("runner was killed"), "{}", job.message);
    server.want(1, 2, vec![]).await;
    server
        .read_until("forgotten", |s| s.jobs.is_empty().then_some(()))
        .await;
    until("the end of the orphan", async || {
        (!is_alive(child)).then_some(())
    })
    .await;
    drop(order);
}

#[tokio::test]
async fn an_exit_stays_until_the_server_drops_the_job() {
    let (mut agent, mut server, id, order) = one_job("echo kept; exit 6").await;
    server.exit(id).await;
    drop(server);
    agent.kill();
    agent.again().await;
    let mut server = agent.link().await;
    server.want(1, 2, vec![run(&order)]).await;
    assert_eq!(server.exit(id).await.exit_status, 6);
    assert_eq!(server.output(id), "kept\n");
    server.want(1, 3, vec![]).await;
    server
        .read_until("forgotten", |s| s.jobs.is_empty().then_some(()))
        .await;
    let root = agent.job(id).root().to_owned();
    until("the job's folder is gone", async || {
        (!root.exists()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_that_is_dropped_while_it_runs_is_killed() {
    let (agent, mut server, id, _) = one_job("echo $$; sleep 1000").await;
    let pid = server
        .read_until("a pid", |s| s.output(id).trim().parse::<i32>().ok())
        .await;
    server.want(1, 2, vec![]).await;
    server
        .read_until("forgotten", |s| s.jobs.is_empty().then_some(()))
        .await;
    assert!(!is_alive(pid));
    let root = agent.job(id).root().to_owned();
    until("the job's folder is gone", async || {
        (!root.exists()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_jobs_at_once() {
    let agent = Agent::start().await;
    let mut server = agent.link().await;
    let orders: Vec<_> = (0..8_i32)
        .map(|n| order(Uuid::new_v4(), &format!("echo job {n}; exit {n}")))
        .collect();
    server.want(1, 1, orders.iter().map(run).collect()).await;
    for (n, order) in orders.iter().enumerate() {
        let id = order.submission_id.parse().unwrap();
        let job = server.exit(id).await;
        assert_eq!(job.exit_status, i32::try_from(n).unwrap());
        assert_eq!(server.output(id), format!("job {n}\n"));
    }
}

#[tokio::test]
async fn an_agent_that_is_retired_leaves_nothing_behind() {
    let (mut agent, mut server, id, _) = one_job("sleep 600").await;
    server.phase(id, phase::RUNNING).await;
    let claim: Claim = dstack_agent::durable::read_json(&agent.job(id).claim())
        .unwrap()
        .unwrap();
    let retired = std::process::Command::new(crate::support::binary())
        .args(["retire", "--runtime", "process", "--home"])
        .arg(agent.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&retired.stderr);
    assert!(retired.status.success(), "{said}");
    agent.left().await;
    assert!(!claim.process.is_alive(), "its job still runs");
    assert!(!agent.path().exists(), "its home is still there");
}

#[tokio::test]
async fn what_a_job_uses_is_sampled_beside_its_output() {
    let (_agent, mut server, id, _) =
        one_job("head -c 50000000 /dev/zero | tail -c 1; sleep 600").await;
    let sample = server
        .read_until("a sample", |server| {
            let text = server.text(id, "metrics");
            serde_json::from_str::<dstack_api::agent_metrics::Sample>(text.lines().next()?).ok()
        })
        .await;
    assert!(sample.gpus.is_empty(), "{sample:?}");
}

#[tokio::test]
async fn a_job_that_leaves_its_gpus_idle_is_ended() {
    let smi = "echo 'GPU-a, 100, 97'; echo 'GPU-b, 100, 2'";
    let agent = Agent::start_with_tool("nvidia-smi", smi).await;
    let mut server = agent.link().await;
    let id = Uuid::new_v4();
    let mut order = order(id, "sleep 600");
    order.gpus = dstack_api::agent_job::GpuSelection::All;
    order.utilization_policy = Some(dstack_api::agent_job::UtilizationPolicy {
        min_gpu_utilization: 10,
        // A minute less is enough, so the second sample decides.
        time_window_s: 65,
    });
    server.want(1, 1, vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!(job.reason, "terminated_due_to_utilization_policy");
    let samples = server.text(id, "metrics");
    assert!(
        samples.contains(r#"{"memory":104857600,"percent":2}"#),
        "{samples}"
    );
}
