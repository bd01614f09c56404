//! Jobs in containers, with a Docker daemon started for the test.

use std::path::PathBuf;
use std::process::Command;

use dstack_api::agent::Phase;
use dstack_api::agent_job::{JobOrder, NetworkMode, OrderMount, OrderUser};
use uuid::Uuid;

use crate::support::{Agent, Server, order, run, until, with_phase};

struct Dockerd {
    dir: tempfile::TempDir,
}

impl Dockerd {
    /// `None`, with the reason on standard error, where Docker cannot run.
    fn start() -> Option<Self> {
        let dockerd = Self {
            dir: tempfile::Builder::new().prefix("dd-").tempdir().unwrap(),
        };
        let output = dockerd.script("start");
        if output.status.code() == Some(77) {
            eprintln!(
                "skipped: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            return None;
        }
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(dockerd)
    }

    fn script(&self, verb: &str) -> std::process::Output {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker.sh");
        Command::new(script)
            .arg(verb)
            .arg(self.dir.path())
            .output()
            .unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    fn containers(&self) -> Vec<String> {
        let host = format!("unix://{}", self.socket().display());
        let output = Command::new("docker")
            .args(["-H", &host, "ps", "-aq"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.script("stop");
    }
}

fn image_order(script: &str) -> (Uuid, JobOrder) {
    let id = Uuid::new_v4();
    (
        id,
        JobOrder {
            image_name: Some("agent-test:1".into()),
            ..order(id, script)
        },
    )
}

/// One daemon for everything: starting it is the slow part.
#[tokio::test]
async fn jobs_in_containers() {
    let Some(dockerd) = Dockerd::start() else {
        return;
    };
    let socket = dockerd.socket().display().to_string();
    let mut agent = Agent::start_with(&["--runtime", "docker", "--docker-socket", &socket]).await;
    let mut server = agent.link().await;
    assert_eq!(agent.hello("", 1).await.unwrap().runtime, "docker");

    the_images_settings_count(&mut server).await;
    the_images_command_runs_without_commands(&mut server).await;
    an_order_may_name_a_user(&mut server).await;
    a_part_of_the_host(&mut server).await;
    an_image_that_is_not_there(&mut server).await;
    a_stop_reaches_the_command(&mut server).await;
    server.want(1, 99, vec![]).await;
    until("all containers are removed", async || {
        dockerd.containers().is_empty().then_some(())
    })
    .await;
    drop(server);
    a_container_is_adopted(&mut agent, &dockerd).await;
}

async fn the_images_settings_count(server: &mut Server) {
    let (id, mut order) = image_order(
        "id -u; id -G; pwd; echo $FROM_IMAGE $HOME $DSTACK_MPI_HOSTFILE; df -k /dev/shm; exit 3",
    );
    order.shm_size_bytes = Some(32 << 20);
    server.want(1, 2, vec![run(&order)]).await;
    let job = server.exit(id).await;
    let output = server.output(id);
    assert_eq!(
        (job.exit_status, job.reason.as_str(), job.user.as_str()),
        (3, "container_exited_with_error", "job"),
        "{job:?}"
    );
    assert!(
        output.starts_with("1234\n1234 44\n/srv\nyes /home/job /dstack/mpi/hostfile\n"),
        "{output}"
    );
    assert!(output.contains(" 32768 "), "{output}");
}

async fn the_images_command_runs_without_commands(server: &mut Server) {
    let (id, mut order) = image_order("");
    order.commands.clear();
    server.want(1, 3, vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.exit_status, server.output(id).as_str()),
        (0, "from the image\n")
    );
}

async fn an_order_may_name_a_user(server: &mut Server) {
    let (id, mut order) = image_order("id -u; cat /proc/1/cmdline");
    order.user = Some(OrderUser {
        username: Some("root".into()),
        ..OrderUser::default()
    });
    server.want(1, 4, vec![run(&order)]).await;
    server.exit(id).await;
    let output = server.output(id);
    assert!(
        output.starts_with("0\n/dstack/job/dstack-agent"),
        "{output}"
    );
}

async fn a_part_of_the_host(server: &mut Server) {
    let shared = tempfile::tempdir().unwrap();
    let folder = shared.path().join("made");
    let (id, order) = image_order(
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
         echo brought >/data/file",
    );
    let order = JobOrder {
        network_mode: NetworkMode::Bridge,
        app_ports: vec![8000],
        cpu_limit: Some(1.5),
        memory_limit_bytes: Some(256 << 20),
        mounts: vec![OrderMount {
            instance_path: folder.display().to_string(),
            path: "/data".into(),
            optional: false,
        }],
        ..order
    };
    server.want(1, 50, vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!(job.exit_status, 0, "{job:?}");
    assert_eq!(server.output(id), "268435456\n");
    let mut inside: Vec<u32> = job.ports.keys().copied().collect();
    inside.sort_unstable();
    assert_eq!(inside, [8000, 10022, 10999]);
    assert!(job.ports.values().all(|outside| *outside > 0));
    let brought = std::fs::read_to_string(folder.join("file")).unwrap();
    assert_eq!(brought, "brought\n");
}

async fn an_image_that_is_not_there(server: &mut Server) {
    let (id, mut order) = image_order("true");
    order.image_name = Some("127.0.0.1:9/no/image:1".into());
    server.want(1, 51, vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!(
        (job.reason.as_str(), job.has_exit_status),
        ("creating_container_error", false)
    );
    assert!(
        job.message.contains("127.0.0.1:9/no/image:1"),
        "{}",
        job.message
    );
    assert!(server.text(id, "runner").contains("cannot pull"));
}

async fn a_stop_reaches_the_command(server: &mut Server) {
    let (id, order) =
        image_order("trap 'echo bye; exit 0' INT; echo ready; while :; do sleep 0.1; done");
    server.want(1, 52, vec![run(&order)]).await;
    server
        .read_until("ready", |s| s.output(id).contains("ready").then_some(()))
        .await;
    server
        .want(1, 53, vec![with_phase(&order, Phase::Stop, 30)])
        .await;
    let job = server.exit(id).await;
    assert_eq!(job.reason, "terminated_by_server");
    assert!(
        server.output(id).ends_with("bye\n"),
        "{}",
        server.output(id)
    );
}

async fn a_container_is_adopted(agent: &mut Agent, dockerd: &Dockerd) {
    let (id, order) =
        image_order("i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); sleep 0.02; done; exit 4");
    let mut server = agent.link().await;
    server.want(2, 1, vec![run(&order)]).await;
    server
        .read_until("some output", |s| {
            s.output(id).contains("20\n").then_some(())
        })
        .await;
    let before = dockerd.containers();
    agent.kill();
    agent.again().await;
    let mut server = agent.link().await;
    server.want(2, 2, vec![run(&order)]).await;
    let job = server.exit(id).await;
    assert_eq!((job.exit_status, before), (4, dockerd.containers()));
    let expected: String = (0..200).map(|n| format!("{n}\n")).collect();
    assert_eq!(server.output(id), expected);
}
