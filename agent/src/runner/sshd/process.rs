//! The server as a process: `dstack-agent sshd` on one side, the runner that keeps it on the other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::watch;

use super::activity::{self, Presence};
use super::connection::House;
use super::keys::Authorized;
use super::plan::{Plan, Told};
use super::serve::{config, serve};
use crate::home::JobDir;

/// How long the runner waits for the server to listen.
const START: Duration = Duration::from_secs(10);
/// How long those who follow the job's output may take for the rest of it.
const DRAIN: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

/// `dstack-agent sshd --dir DIR`: serves until its input is closed, then until the last follower has everything.
pub fn run(dir: &Path) -> anyhow::Result<()> {
    let job = JobDir::at(dir.to_owned());
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let plan: Plan = serde_json::from_str(&line).context("the plan cannot be read")?;
    let listeners = plan.listen.bind().context("no port to listen on")?;
    let port = listeners
        .first()
        .context("no listener")?
        .local_addr()?
        .port();
    let config = config(&job.ssh())?;
    println!("{}", serde_json::to_string(&Told { port })?);
    let (end, ended) = watch::channel(false);
    let house = Arc::new(House {
        authorized: Authorized::parse(&plan.authorized_keys),
        plan: Some(Arc::new(plan)),
        spool: job.spool(),
        ended,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let presence = Arc::new(Presence::default());
        tokio::spawn(activity::watch(presence.clone(), job.activity()));
        let serving = tokio::spawn(serve(listeners, config, house.clone(), presence));
        input_closed().await;
        end.send_replace(true);
        drained(&end).await;
        serving.abort();
    });
    Ok(())
}

/// The runner is done, or gone.
async fn input_closed() {
    let (closed, wait) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut rest = [0; 64];
        while io::stdin().lock().read(&mut rest).is_ok_and(|n| n > 0) {}
        drop(closed);
    });
    let _ = wait.await;
}

/// Each follower listens for the end, as the house does.
async fn drained(end: &watch::Sender<bool>) {
    let deadline = Instant::now() + DRAIN;
    while end.receiver_count() > 1 && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}

/// The runner's hold on its server.
pub struct Companion {
    child: Child,
    input: Option<ChildStdin>,
    pub port: u16,
    /// Says nothing more; ends when the server does.
    ended: mpsc::Receiver<()>,
}

impl Companion {
    /// Starts the server and waits until it listens.
    pub fn start(job: &JobDir, plan: &Plan) -> anyhow::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg("sshd")
            .arg("--dir")
            .arg(job.root())
            // Not the job's: what sweeps up after the job looks for its variables.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the job's SSH server")?;
        let mut input = child.stdin.take().context("no pipe to the SSH server")?;
        let output = child.stdout.take().context("no pipe from the SSH server")?;
        let mut text = serde_json::to_vec(plan)?;
        text.push(b'\n');
        input.write_all(&text)?;
        let (said, hear) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let mut output = BufReader::new(output);
            let read = output.read_line(&mut line);
            let _ = said.send(read.map(|_| line));
            let _ = output.read_to_end(&mut Vec::new());
            drop(ends);
        });
        let line = hear
            .recv_timeout(START)
            .context("the job's SSH server does not start")??;
        let told: Told =
            serde_json::from_str(&line).context("the job's SSH server ended at once")?;
        Ok(Self {
            child,
            input: Some(input),
            port: told.port,
            ended,
        })
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or_default()
    }

    /// Lets followers have the rest of the output, which is complete now.
    pub fn finish(mut self) {
        self.input = None;
        let _ = self.ended.recv_timeout(DRAIN + DRAIN);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
