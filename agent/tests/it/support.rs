//! An agent in a folder of its own, and the server's end of its links.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dstack_agent::home::{Home, JobDir};
use dstack_agent::process_table;
use dstack_agent::record::Claim;
use dstack_api::agent::agent_client::AgentClient;
use dstack_api::agent::{
    ArchiveChunk, Desired, DesiredJob, Down, HelloReply, HelloRequest, LogAck, LogChunk,
    ObservedJob, Phase, Refused, Up, down, up,
};
use dstack_api::agent_job::{Cluster, JobOrder};
use dstack_api::frames;
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};
use uuid::Uuid;

/// Nothing here takes long; a machine under load may.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The binary under test; `DSTACK_TEST_AGENT` names another, e.g. the static one.
pub fn binary() -> PathBuf {
    std::env::var_os("DSTACK_TEST_AGENT")
        .map_or_else(|| env!("CARGO_BIN_EXE_dstack-agent").into(), PathBuf::from)
}

pub struct Agent {
    dir: tempfile::TempDir,
    args: Vec<String>,
    /// Before the folders the agent looks for programs in.
    tools: Option<PathBuf>,
    child: Option<Child>,
}

impl Agent {
    /// An agent whose jobs are processes.
    pub async fn start() -> Self {
        Self::start_with(&["--runtime", "process"]).await
    }

    pub async fn start_with(args: &[&str]) -> Self {
        let mut agent = Self {
            dir: tempfile::Builder::new().prefix("da-").tempdir().unwrap(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            tools: None,
            child: None,
        };
        agent.again().await;
        agent
    }

    /// An agent that finds one more program.
    pub async fn start_with_tool(name: &str, script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let mut agent = Self::start().await;
        agent.kill();
        let folder = agent.path().join("tools");
        std::fs::create_dir_all(&folder).unwrap();
        let tool = folder.join(name);
        std::fs::write(&tool, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        agent.tools = Some(folder);
        agent.again().await;
        agent
    }

    /// Starts the agent's next life.
    pub async fn again(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join("agent.log"))
            .unwrap();
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
        let socket = self.home().socket();
        until("the agent's socket", async || {
            UnixStream::connect(&socket).await.ok()
        })
        .await;
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("serve")
            .arg("--home")
            .arg(self.path())
            .args(&self.args);
        command.env("DSTACK_SERVER_ADMIN_TOKEN", "not-for-jobs");
        command.env("DSTACK_AGENT_AUTHORIZED_KEYS", self.guests());
        if let Some(tools) = &self.tools {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", tools.display()));
        }
        command
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The exit status of an agent that leaves by itself.
    pub async fn left(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        until("the agent's end", async || child.try_wait().unwrap())
            .await
            .code()
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Stands for the host user's `authorized_keys`.
    pub fn guests(&self) -> PathBuf {
        self.path().join("guests")
    }

    pub fn home(&self) -> Home {
        Home::open(self.path()).unwrap()
    }

    pub fn job(&self, id: Uuid) -> JobDir {
        self.home().job(id)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("agent.log")).unwrap_or_default()
    }

    pub async fn client(&self) -> AgentClient<Channel> {
        let socket = self.home().socket();
        let channel = Endpoint::from_static("http://agent")
            .connect_with_connector(tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }))
            .await
            .unwrap();
        AgentClient::new(channel)
    }

    pub async fn hello(&self, cluster: &str, epoch: u64) -> Result<HelloReply, Status> {
        let request = HelloRequest {
            epoch,
            cluster_id: cluster.into(),
            instance_id: Uuid::from_u128(1).to_string(),
            server_version: "test".into(),
        };
        self.client()
            .await
            .hello(request)
            .await
            .map(tonic::Response::into_inner)
    }

    pub async fn put_archive(&self, sha256: &str, bytes: &[u8]) -> Result<(), Status> {
        let mut chunks: Vec<ArchiveChunk> = bytes
            .chunks(1000)
            .map(|data| ArchiveChunk {
                sha256: sha256.into(),
                data: data.to_vec().into(),
                last: false,
            })
            .collect();
        chunks.last_mut().unwrap().last = true;
        self.client()
            .await
            .put_archive(tokio_stream::iter(chunks))
            .await
            .map(|_| ())
    }

    /// A link that has said nothing yet.
    pub async fn link(&self) -> Server {
        let (down, messages) = mpsc::channel(64);
        let up = self
            .client()
            .await
            .link(ReceiverStream::new(messages))
            .await
            .unwrap()
            .into_inner();
        Server {
            down,
            up,
            jobs: BTreeMap::new(),
            observed: (0, 0),
            logs: HashMap::new(),
            ack: true,
            resume: Some(HashMap::new()),
            known: BTreeSet::new(),
            chunks: Vec::new(),
        }
    }
}

impl Drop for Agent {
    /// Leaves no process behind, whatever the test did.
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the agent said:\n{}", self.log());
        }
        let home = self.home();
        for id in home.submissions().unwrap_or_default() {
            let claim: Option<Claim> =
                dstack_agent::durable::read_json(&home.job(id).claim()).unwrap_or_default();
            if let Some(claim) = claim {
                claim.process.kill_descendants();
                claim.process.signal(Signal::SIGKILL);
            }
            for pid in process_table::with_variable(&format!("DSTACK_JOB_ID={id}")) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// The server's end of one link.
pub struct Server {
    down: mpsc::Sender<Down>,
    up: Streaming<Up>,
    pub jobs: BTreeMap<Uuid, ObservedJob>,
    pub observed: (u64, u64),
    /// By submission and stream: the offset of the first byte, and the bytes.
    pub logs: HashMap<(Uuid, String), (u64, Vec<u8>)>,
    /// Whether chunks are acknowledged as they come.
    pub ack: bool,
    /// Where the streams of a job that is seen for the first time are to begin; 0 if not named.
    /// `None`: the server keeps silent.
    pub resume: Option<HashMap<(Uuid, String), u64>>,
    known: BTreeSet<Uuid>,
    pub chunks: Vec<LogChunk>,
}

/// What came up.
#[derive(Debug)]
pub enum Came {
    Observed,
    Logs,
    Pong(u64),
    Refused(Refused),
    End,
}

impl Server {
    pub async fn send(&self, kind: down::Kind) {
        // A link that the agent has closed takes nothing; reading it says so.
        let _ = self.down.send(Down { kind: Some(kind) }).await;
    }

    pub async fn want(&self, epoch: u64, generation: u64, jobs: Vec<DesiredJob>) {
        self.send(down::Kind::Desired(Desired {
            epoch,
            generation,
            jobs,
        }))
        .await;
    }

    pub async fn ack(&self, id: Uuid, stream: &str, offset: u64) {
        self.send(down::Kind::Ack(LogAck {
            submission_id: id.to_string(),
            stream: stream.into(),
            offset,
        }))
        .await;
    }

    /// The next message. Chunks must follow one another without a hole.
    pub async fn next(&mut self) -> Came {
        let message = tokio::time::timeout(PATIENCE, self.up.message())
            .await
            .expect("the agent said nothing");
        let Ok(Some(Up { kind: Some(kind) })) = message else {
            return Came::End;
        };
        match kind {
            up::Kind::Observed(observed) => {
                self.observed = (observed.epoch, observed.generation);
                self.jobs = observed
                    .jobs
                    .into_iter()
                    .map(|job| (job.submission_id.parse().unwrap(), job))
                    .collect();
                self.say_where_to_begin().await;
                Came::Observed
            }
            up::Kind::Logs(chunk) => {
                self.store(chunk).await;
                Came::Logs
            }
            up::Kind::Pong(pong) => Came::Pong(pong.nonce),
            up::Kind::Refused(refused) => Came::Refused(refused),
        }
    }

    /// As the real server does for each job it learns of.
    async fn say_where_to_begin(&mut self) {
        let Some(resume) = self.resume.clone() else {
            return;
        };
        let new: Vec<Uuid> = self
            .jobs
            .keys()
            .copied()
            .filter(|id| self.known.insert(*id))
            .collect();
        for id in new {
            for stream in dstack_api::agent::stream::ALL {
                let offset = resume
                    .get(&(id, stream.to_owned()))
                    .copied()
                    .unwrap_or_default();
                self.ack(id, stream, offset).await;
            }
        }
    }

    pub fn resume_at(&mut self, id: Uuid, stream: &str, offset: u64) {
        let resume = self.resume.get_or_insert_default();
        resume.insert((id, stream.to_owned()), offset);
    }

    async fn store(&mut self, chunk: LogChunk) {
        let id = chunk.submission_id.parse().unwrap();
        assert!(chunk.frames.len() <= 256 * 1024);
        let (base, bytes) = self
            .logs
            .entry((id, chunk.stream.clone()))
            .or_insert((chunk.offset, Vec::new()));
        assert_eq!(
            chunk.offset,
            *base + bytes.len() as u64,
            "a hole or a repetition in {}",
            chunk.stream
        );
        bytes.extend_from_slice(&chunk.frames);
        frames::check_chunk(bytes, None).unwrap();
        let end = *base + bytes.len() as u64;
        if self.ack {
            self.ack(id, &chunk.stream, end).await;
        }
        self.chunks.push(chunk);
    }

    /// Reads on until the condition holds.
    pub async fn read_until<T>(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = condition(self) {
                return found;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "never: {what}; jobs: {:?}",
                self.jobs
            );
            if let came @ (Came::Refused(_) | Came::End) = self.next().await {
                panic!("the link ended before {what}: {came:?}");
            }
        }
    }

    pub async fn phase(&mut self, id: Uuid, phase: &str) -> ObservedJob {
        self.read_until(phase, |server| {
            server
                .jobs
                .get(&id)
                .filter(|job| job.phase == phase)
                .cloned()
        })
        .await
    }

    /// The job's end, with all its output.
    pub async fn exit(&mut self, id: Uuid) -> ObservedJob {
        let job = self.phase(id, "exited").await;
        for (stream, end) in [("job", job.job_log_end), ("runner", job.runner_log_end)] {
            self.read_until(&format!("all of {stream}"), |server| {
                (server.end(id, stream) >= end).then_some(())
            })
            .await;
        }
        job
    }

    pub fn end(&self, id: Uuid, stream: &str) -> u64 {
        self.logs
            .get(&(id, stream.to_owned()))
            .map_or(0, |(base, bytes)| base + bytes.len() as u64)
    }

    /// What has come of a stream, as text.
    pub fn text(&self, id: Uuid, stream: &str) -> String {
        let bytes = self
            .logs
            .get(&(id, stream.to_owned()))
            .map(|(_, bytes)| bytes.as_slice())
            .unwrap_or_default();
        let text: Vec<u8> = frames::Frames::new(bytes)
            .flat_map(|frame| frame.unwrap().payload.to_vec())
            .collect();
        String::from_utf8(text).unwrap()
    }

    pub fn output(&self, id: Uuid) -> String {
        self.text(id, "job")
    }
}

/// An order for one command line, under the shell and in the form servers send.
pub fn order(id: Uuid, script: &str) -> JobOrder {
    JobOrder {
        run_id: Uuid::from_u128(77).to_string(),
        run_name: "run".into(),
        project: "main".into(),
        user_name: "ann".into(),
        job_name: "run-0-0".into(),
        submission_id: id.to_string(),
        commands: vec!["/bin/sh".into(), "-i".into(), "-c".into(), script.into()],
        cluster: Cluster {
            job_ips: vec!["127.0.0.1".into()],
            master_ip: "127.0.0.1".into(),
            gpus_per_job: vec![0],
            gpus_per_node: 0,
        },
        ..JobOrder::default()
    }
}

pub fn run(order: &JobOrder) -> DesiredJob {
    DesiredJob {
        submission_id: order.submission_id.clone(),
        spec_json: order.to_json().unwrap(),
        phase: Phase::Run.into(),
        ..DesiredJob::default()
    }
}

pub fn with_phase(order: &JobOrder, phase: Phase, grace_s: u32) -> DesiredJob {
    DesiredJob {
        phase: phase.into(),
        grace_s,
        ..run(order)
    }
}

/// An agent, an active link, and one job on it.
pub async fn one_job(script: &str) -> (Agent, Server, Uuid, JobOrder) {
    let id = Uuid::new_v4();
    let order = order(id, script);
    let agent = Agent::start().await;
    let server = agent.link().await;
    server.want(1, 1, vec![run(&order)]).await;
    (agent, server, id, order)
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Waits for a condition of the world; what it waits for is named when it does not come.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn is_alive(pid: i32) -> bool {
    process_table::ProcessId::of(pid).is_ok_and(|process| process.is_alive())
}
