//! From the start of the command to its end: output, limits, stops, and what it left running.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};

use super::outcome::Cause;
use super::output::Output;
use super::prepare::Prepared;
use super::terminal::{OutputReader, Terminal};
use crate::home::JobDir;
use crate::record::StopOrder;
use crate::{durable, process_table};

/// Between the polite stop and the kill, where nobody says otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// How often stop orders whose signal was lost, and orphans, are looked for.
const ROUND: Duration = Duration::from_secs(1);
/// How long to read on after everything has been killed.
const DRAIN: Duration = Duration::from_secs(2);

/// What bounds a job.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_duration: Option<Duration>,
    pub grace: Duration,
}

/// Signals that are for the runner to understand, not to die of.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// The started command.
pub struct Supervisor<'a> {
    job: &'a JobDir,
    child: Child,
    pid: i32,
    reader: OutputReader,
    output: Output,
    limits: Limits,
    started: Instant,
    stop: Option<Stop>,
    lost: u64,
    /// The job's SSH server, which outlives it by a moment.
    beside: Option<i32>,
}

/// A stop on its way.
#[derive(Debug)]
struct Stop {
    cause: Cause,
    since: Instant,
    grace: Duration,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Interrupted,
    HungUp,
    Killed,
}

/// How it went.
pub struct Ended {
    pub status: ExitStatus,
    pub cause: Option<Cause>,
    pub output: Output,
}

impl<'a> Supervisor<'a> {
    /// Starts the command.
    pub fn start(
        job: &'a JobDir,
        prepared: &Prepared,
        output: Output,
        limits: Limits,
        beside: Option<i32>,
    ) -> io::Result<Self> {
        let terminal = Terminal::open()?;
        // Not current_exe(): the file may have been replaced by an update since.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("exec")
            .args(["--parent", &std::process::id().to_string()]);
        if terminal.is_tty {
            command.arg("--tty");
        }
        let identity = &prepared.identity;
        if identity.switch {
            let groups: Vec<String> = identity.groups.iter().map(u32::to_string).collect();
            command.args([
                "--uid",
                &identity.uid.to_string(),
                "--gid",
                &identity.gid.to_string(),
            ]);
            command.args(["--groups", &groups.join(",")]);
        }
        command
            .arg("--cwd")
            .arg(&prepared.working_dir)
            .arg("--")
            .args(&prepared.argv);
        command.env_clear().envs(&prepared.env);
        command
            .stdin(terminal.stdin)
            .stdout(terminal.stdout)
            .stderr(terminal.stderr);
        let child = command.spawn()?;
        // The terminal's other end lives on in the command value; only the child may hold it open.
        drop(command);
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .unwrap_or_default();
        Ok(Self {
            job,
            child,
            pid,
            reader: terminal.reader,
            output,
            limits,
            started: Instant::now(),
            stop: None,
            lost: 0,
            beside,
        })
    }

    /// Stays until the command and everything it started are gone, and its output is stored. `unused` resolves when
    /// the job no longer uses what it has.
    pub async fn run(
        mut self,
        mut signals: Signals,
        unused: impl Future<Output = ()>,
    ) -> io::Result<Ended> {
        let mut buffer = vec![0; 64 * 1024];
        let (mut open, mut used) = (true, true);
        let mut unused = std::pin::pin!(unused);
        self.look_for_stop(false);
        let status = loop {
            let wake = tokio::time::Instant::from_std(self.next_wake());
            tokio::select! {
                status = self.child.wait() => break status?,
                read = self.reader.read(&mut buffer), if open => match read {
                    Ok(0) | Err(_) => open = false,
                    Ok(n) => self.take(&buffer[..n]),
                },
                _ = signals.terminate.recv() => self.look_for_stop(true),
                _ = signals.interrupt.recv() => {}, // of a terminal the runner was started from
                () = &mut unused, if used => {
                    used = false;
                    self.begin_stop(Cause::Unused, self.limits.grace);
                }
                () = tokio::time::sleep_until(wake) => self.round(),
            }
        };
        if status.signal().is_some() && self.stop.is_none() {
            self.look_for_stop(false); // killed from outside on the agent's word
        }
        process_table::kill_own_descendants(self.beside);
        if open {
            self.drain(&mut buffer).await;
        }
        reap(None);
        let _ = self.output.finish();
        Ok(Ended {
            status,
            cause: self.stop.map(|stop| stop.cause),
            output: self.output,
        })
    }

    /// What was written before the end is still in the terminal.
    async fn drain(&mut self, buffer: &mut [u8]) {
        let deadline = tokio::time::Instant::now() + DRAIN;
        while let Ok(Ok(n)) = tokio::time::timeout_at(deadline, self.reader.read(buffer)).await {
            if n == 0 {
                return;
            }
            self.take(&buffer[..n]);
        }
    }

    fn take(&mut self, raw: &[u8]) {
        if self.lost > 0 {
            let note = format!(
                "[{} bytes of output were lost here: the host's disk did not take them]\n",
                self.lost
            );
            if self.output.take(note.as_bytes()).is_err() {
                self.lost += raw.len() as u64;
                return;
            }
            self.lost = 0;
        }
        match self.output.take(raw) {
            Ok(true) => {}
            Ok(false) => self.begin_stop(Cause::LogQuota, self.limits.grace),
            Err(_) => self.lost += raw.len() as u64,
        }
    }

    fn next_wake(&self) -> Instant {
        let mut wake = Instant::now() + ROUND;
        wake = wake.min(self.output.flush_due().unwrap_or(wake));
        wake = wake.min(self.max_duration_at().unwrap_or(wake));
        wake.min(self.stop.as_ref().and_then(Stop::next_at).unwrap_or(wake))
    }

    fn max_duration_at(&self) -> Option<Instant> {
        let limit = self.limits.max_duration.filter(|_| self.stop.is_none())?;
        self.started.checked_add(limit)
    }

    fn round(&mut self) {
        let now = Instant::now();
        if self.output.flush_due().is_some_and(|due| due <= now) {
            let _ = self.output.flush();
        }
        if self.max_duration_at().is_some_and(|due| due <= now) {
            self.begin_stop(Cause::MaxDuration, self.limits.grace);
        }
        self.look_for_stop(false);
        self.advance_stop();
        reap(Some(self.pid));
    }

    /// `signalled`: a SIGTERM came; without an order on disk it is not the agent's.
    fn look_for_stop(&mut self, signalled: bool) {
        match durable::read_json::<StopOrder>(&self.job.stop()) {
            Ok(Some(order)) => {
                self.begin_stop(Cause::Stopped, Duration::from_secs(order.grace_s.into()))
            }
            _ if signalled => self.begin_stop(Cause::Outside, self.limits.grace),
            _ => {}
        }
    }

    /// The first cause stays; a later stop can only be less patient.
    fn begin_stop(&mut self, cause: Cause, grace: Duration) {
        match &mut self.stop {
            Some(stop) => stop.grace = stop.grace.min(grace),
            None => {
                self.stop = Some(Stop {
                    cause,
                    since: Instant::now(),
                    grace,
                    step: Step::Interrupted,
                });
                if !grace.is_zero() {
                    self.signal_command(Signal::SIGINT);
                }
            }
        }
        self.advance_stop();
    }

    fn advance_stop(&mut self) {
        let Some(stop) = &mut self.stop else { return };
        let age = stop.since.elapsed();
        if age >= stop.grace {
            stop.step = Step::Killed;
            process_table::kill_own_descendants(self.beside);
        } else if stop.step == Step::Interrupted && age >= stop.grace / 2 {
            stop.step = Step::HungUp;
            self.signal_command(Signal::SIGHUP);
        }
    }

    /// As a terminal would: to the foreground job, and to the shell that may be between two.
    fn signal_command(&self, signal: Signal) {
        if let Some(group) = self.reader.foreground().filter(|group| *group != self.pid) {
            let _ = killpg(Pid::from_raw(group), signal);
        }
        if self.pid > 1 && killpg(Pid::from_raw(self.pid), signal).is_err() {
            // It has not made its own group yet.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

impl Stop {
    fn next_at(&self) -> Option<Instant> {
        match self.step {
            Step::Interrupted => Some(self.since + self.grace / 2),
            Step::HungUp => Some(self.since + self.grace),
            Step::Killed => None,
        }
    }
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// Collects orphans that came to the runner; `except` is waited for elsewhere.
fn reap(except: Option<i32>) {
    for pid in process_table::zombies(own_pid()) {
        if Some(pid) != except {
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}
