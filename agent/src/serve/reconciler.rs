//! The one task that owns the host's jobs. It takes messages, decides, acts, and publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dstack_api::agent::{Desired, DesiredJob, Observed, Phase};
use dstack_api::agent_job::JobOrder;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::entry::{Entry, LaunchStep, Launching};
use super::observed::{Snapshot, Spool, describe};
use super::{archives, launch};
use crate::clock;
use crate::decide::{Act, Stopping, Want, WantPhase, decide};
use crate::durable;
use crate::home::Home;
use crate::ledger::{Ledger, Refusal};
use crate::record::{ExitRecord, Handle, JobPhase, JobRecord, Running, Secrets, reason};
use crate::runtime::{Credentials, Fuel, Gone, Runtime, StartError, Started};

/// The world is looked at again this often, whether or not somebody said something.
const ROUND: Duration = Duration::from_secs(1);

/// What reaches the reconciler.
pub enum Message {
    Meet {
        cluster: String,
        instance: String,
        epoch: u64,
        reply: oneshot::Sender<Result<u64, Refusal>>,
    },
    Desired {
        link: u64,
        desired: Desired,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Shutdown {
        force: bool,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Something on disk may have changed.
    Look,
    Prepared {
        submission: Uuid,
        go: oneshot::Sender<()>,
    },
    Started {
        submission: Uuid,
        result: Result<Started, StartError>,
    },
    Found {
        submission: Uuid,
        found: Option<Started>,
    },
    Running {
        submission: Uuid,
        started: Running,
    },
    Gone {
        submission: Uuid,
        gone: Gone,
    },
    Forgotten {
        submission: Uuid,
        removed: bool,
    },
}

/// What others hold of the reconciler.
#[derive(Clone)]
pub struct Handles {
    pub inbox: mpsc::Sender<Message>,
    pub published: watch::Receiver<Arc<Snapshot>>,
    /// The link that speaks for the cluster.
    pub active: watch::Receiver<Option<ActiveLink>>,
}

/// The link whose desired set was accepted last, and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveLink {
    pub link: u64,
    pub epoch: u64,
}

pub struct Reconciler {
    home: Home,
    runtime: Arc<dyn Runtime>,
    ledger: Ledger,
    jobs: BTreeMap<Uuid, Entry>,
    messages: mpsc::Receiver<Message>,
    inbox: mpsc::Sender<Message>,
    published: watch::Sender<Arc<Snapshot>>,
    active: watch::Sender<Option<ActiveLink>>,
}

impl Reconciler {
    /// Reads the ledger and the jobs that an earlier life left.
    pub fn open(home: Home, runtime: Arc<dyn Runtime>) -> anyhow::Result<(Self, Handles)> {
        let ledger = Ledger::open(&home.ledger())?;
        let (inbox, messages) = mpsc::channel(256);
        let (published, snapshots) = watch::channel(Arc::default());
        let (active, links) = watch::channel(None);
        let mut jobs = BTreeMap::new();
        for submission in home.submissions()? {
            match Entry::load(&home, submission) {
                Ok(Some(entry)) => drop(jobs.insert(submission, entry)),
                // The order was not accepted yet when the agent died: it will come again.
                Ok(None) => durable::remove_dir(home.job(submission).root())?,
                Err(error) => {
                    tracing::error!(%submission, %error, "the job's record cannot be read; it is left alone")
                }
            }
        }
        let handles = Handles {
            inbox: inbox.clone(),
            published: snapshots,
            active: links,
        };
        Ok((
            Self {
                home,
                runtime,
                ledger,
                jobs,
                messages,
                inbox,
                published,
                active,
            },
            handles,
        ))
    }

    /// Runs for as long as the agent.
    pub async fn run(mut self) {
        self.take_over();
        let mut round = tokio::time::interval(ROUND);
        loop {
            self.act();
            self.publish();
            tokio::select! {
                Some(message) = self.messages.recv() => self.receive(message),
                _ = round.tick() => self.jobs.values_mut().for_each(Entry::save_again),
            }
        }
    }

    /// What an earlier life started goes on.
    fn take_over(&mut self) {
        for entry in self.jobs.values_mut() {
            match (entry.record.phase, entry.record.handle.clone()) {
                (JobPhase::Starting, _) => {
                    let adopting =
                        launch::adopt(self.runtime.clone(), entry.task.clone(), self.inbox.clone());
                    tokio::spawn(adopting);
                }
                (JobPhase::Alive, Some(handle)) => {
                    watch_runner(&self.runtime, &self.inbox, entry, handle)
                }
                (JobPhase::Alive, None) => entry.record.phase = JobPhase::Starting, // never written so
                (JobPhase::Accepted | JobPhase::Exited, _) => {}
            }
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Meet {
                cluster,
                instance,
                epoch,
                reply,
            } => {
                let busy = self.busy();
                let met = self.ledger.meet(&cluster, &instance, epoch, busy);
                let _ = reply.send(met.map(|()| self.ledger.accepted().epoch));
            }
            Message::Desired {
                link,
                desired,
                reply,
            } => {
                let accepted = self.accept(desired);
                if accepted.is_ok() {
                    let epoch = self.ledger.accepted().epoch;
                    self.active.send_replace(Some(ActiveLink { link, epoch }));
                }
                let _ = reply.send(accepted);
            }
            Message::Shutdown { force, reply } => {
                let _ = reply.send(self.shutdown(force));
            }
            Message::Look => {}
            Message::Prepared { submission, go } => self.prepared(submission, go),
            Message::Started { submission, result } => self.started(submission, result),
            Message::Found { submission, found } => self.found(submission, found),
            Message::Running {
                submission,
                started,
            } => {
                if let Some(entry) = self.jobs.get_mut(&submission) {
                    entry.record.running = Some(started);
                    entry.save();
                }
            }
            Message::Gone { submission, gone } => {
                if let Some(entry) = self.jobs.get_mut(&submission) {
                    entry.watcher = None;
                    entry.finish_gone(&gone);
                }
            }
            Message::Forgotten {
                submission,
                removed,
            } => self.forgotten(submission, removed),
        }
    }

    fn busy(&self) -> bool {
        self.jobs
            .values()
            .any(|entry| entry.record.phase != JobPhase::Exited)
    }

    fn accept(&mut self, desired: Desired) -> Result<(), Refusal> {
        let mut wants = BTreeMap::new();
        for job in &desired.jobs {
            // A submission that is no UUID names no folder; the server sees that it is missing.
            let Ok(submission) = Uuid::parse_str(&job.submission_id) else {
                tracing::error!(
                    submission = job.submission_id,
                    "the server named a submission that is no UUID"
                );
                continue;
            };
            wants.insert(submission, want(job));
        }
        // First the promise, then what follows from it.
        self.ledger
            .accept(desired.epoch, desired.generation, wants)?;
        for job in desired.jobs {
            if let Ok(submission) = Uuid::parse_str(&job.submission_id) {
                self.accept_job(submission, job);
            }
        }
        Ok(())
    }

    fn accept_job(&mut self, submission: Uuid, job: DesiredJob) {
        let had_secrets = !job.secret_env.is_empty() || job.registry_auth.is_some();
        if let Some(entry) = self.jobs.get_mut(&submission) {
            // An order without a body is a reminder of a job that is here already.
            if entry.record.phase == JobPhase::Accepted && !job.spec_json.is_empty() {
                entry.fuel = Some(fuel(job));
            }
            return;
        }
        let job_is_lost = job.spec_json.is_empty();
        let parsed = JobOrder::from_json(&job.spec_json);
        let mut entry = Entry::new(
            &self.home,
            JobRecord::accepted(submission, had_secrets),
            parsed.as_ref().cloned().unwrap_or_default(),
            None,
        );
        let written = entry
            .task
            .job
            .create()
            .and_then(|()| durable::write(&entry.task.job.order(), job.spec_json.as_bytes()));
        entry.fuel = Some(fuel(job));
        let broken = match (written, parsed) {
            _ if job_is_lost => {
                Some("this host no longer has the job: its folder was removed".to_owned())
            }
            (Err(error), _) => Some(format!("the agent cannot write the job's folder: {error}")),
            (_, Err(error)) => Some(format!("the agent cannot read the order: {error}")),
            (Ok(()), Ok(_)) => None,
        };
        match broken {
            Some(message) => entry.finish(ExitRecord::without_status(
                reason::EXECUTOR,
                message,
                clock::now(),
            )),
            None => entry.save(),
        }
        self.jobs.insert(submission, entry);
    }

    fn act(&mut self) {
        let observed = self
            .jobs
            .iter()
            .filter(|(_, entry)| !entry.forgetting)
            .map(|(id, entry)| (*id, entry.seen(&self.home)))
            .collect();
        for act in decide(&self.ledger.accepted().desired, &observed, clock::now()) {
            match act {
                Act::Start(id) => self.start(id),
                Act::Cancel(id) => self.cancel(id),
                Act::Stop(id, grace_s) => self.stop(id, grace_s),
                Act::Kill(id) => self.kill(id),
                Act::Forget(id) => self.forget(id),
            }
        }
    }

    fn start(&mut self, id: Uuid) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        let Some(fuel) = entry.fuel.clone() else {
            return;
        };
        entry.record.phase = JobPhase::Starting;
        entry.save();
        let starting = launch::start(
            self.runtime.clone(),
            self.home.clone(),
            entry.task.clone(),
            fuel,
            entry.pull.clone(),
            self.inbox.clone(),
        );
        let abort = tokio::spawn(starting).abort_handle();
        entry.launching = Some(Launching {
            abort,
            step: LaunchStep::Preparing,
        });
    }

    fn prepared(&mut self, submission: Uuid, go: oneshot::Sender<()>) {
        let launching = self
            .jobs
            .get_mut(&submission)
            .and_then(|entry| entry.launching.as_mut());
        if let Some(launching) = launching {
            launching.step = LaunchStep::Creating;
            let _ = go.send(());
        }
    }

    fn started(&mut self, submission: Uuid, result: Result<Started, StartError>) {
        let Some(entry) = self.jobs.get_mut(&submission) else {
            return;
        };
        entry.launching = None;
        match result {
            Ok(started) => begin_watch(&self.runtime, &self.inbox, entry, started),
            Err(error) => entry.finish_without_runner(ExitRecord::without_status(
                error.reason,
                error.message,
                clock::now(),
            )),
        }
    }

    fn found(&mut self, submission: Uuid, found: Option<Started>) {
        let Some(entry) = self.jobs.get_mut(&submission) else {
            return;
        };
        match found {
            Some(started) => begin_watch(&self.runtime, &self.inbox, entry, started),
            None => {
                entry.record.phase = JobPhase::Accepted;
                entry.save();
            }
        }
    }

    /// A job without a runner ends; one that is being created is waited for, then killed.
    fn cancel(&mut self, id: Uuid) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        let waiting = entry.record.phase == JobPhase::Accepted;
        let preparing = entry
            .launching
            .as_ref()
            .is_some_and(|launching| launching.step == LaunchStep::Preparing);
        if waiting || preparing {
            let exit = ExitRecord::without_status(
                reason::BY_SERVER,
                "stopped before it started",
                clock::now(),
            );
            entry.finish_without_runner(exit);
        }
    }

    fn stop(&mut self, id: Uuid, grace_s: u32) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        let Some(handle) = entry.record.handle.clone() else {
            return;
        };
        let at = entry
            .record
            .stopping
            .map_or_else(clock::now, |stopping| stopping.at);
        entry.record.stopping = Some(Stopping { at, grace_s });
        entry.save();
        tokio::spawn(launch::stop(
            self.runtime.clone(),
            entry.task.clone(),
            handle,
            grace_s,
        ));
    }

    fn kill(&mut self, id: Uuid) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        let Some(handle) = entry.record.handle.clone() else {
            return;
        };
        entry.record.killed_at = Some(clock::now());
        entry.save();
        tokio::spawn(launch::kill(
            self.runtime.clone(),
            entry.task.clone(),
            handle,
        ));
    }

    fn forget(&mut self, id: Uuid) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        entry.forgetting = true;
        let handle = entry.record.handle.clone();
        tokio::spawn(launch::forget(
            self.runtime.clone(),
            entry.task.clone(),
            handle,
            self.inbox.clone(),
        ));
    }

    fn forgotten(&mut self, submission: Uuid, removed: bool) {
        if !removed {
            if let Some(entry) = self.jobs.get_mut(&submission) {
                entry.forgetting = false;
            }
            return;
        }
        self.jobs.remove(&submission);
        let needed: BTreeSet<&str> = self.jobs.values().flat_map(Entry::archives).collect();
        archives::collect_garbage(&self.home, &needed);
    }

    /// Leaves the host. With force, jobs are killed first, by an empty desired set; the server
    /// asks again until they are gone.
    fn shutdown(&mut self, force: bool) -> Result<(), String> {
        let alive = self
            .jobs
            .values()
            .filter(|entry| entry.record.phase != JobPhase::Exited)
            .count();
        if alive > 0 && !force {
            return Err(format!(
                "{alive} jobs have not ended on this host; stop them first"
            ));
        }
        if alive > 0 {
            let accepted = self.ledger.accepted();
            let (epoch, generation) = (accepted.epoch, accepted.generation);
            self.ledger
                .accept(epoch, generation, BTreeMap::new())
                .map_err(|refusal| refusal.to_string())?;
            return Err(format!("{alive} jobs are being killed; ask again"));
        }
        for entry in self.jobs.values() {
            let _ = durable::remove_dir(entry.task.job.root());
        }
        self.ledger.release().map_err(|refusal| refusal.to_string())
    }

    fn publish(&self) {
        let accepted = self.ledger.accepted();
        let shown = self.jobs.values().filter(|entry| !entry.forgetting);
        let snapshot = Snapshot {
            observed: Observed {
                epoch: accepted.epoch,
                generation: accepted.generation,
                jobs: shown
                    .clone()
                    .map(|entry| describe(entry, &self.home))
                    .collect(),
            },
            spools: shown
                .map(|entry| Spool {
                    submission: entry.record.submission,
                    path: entry.task.job.spool(),
                })
                .collect(),
        };
        self.published.send_if_modified(|current| {
            let changed = **current != snapshot;
            if changed {
                *current = Arc::new(snapshot);
            }
            changed
        });
    }
}

fn begin_watch(
    runtime: &Arc<dyn Runtime>,
    inbox: &mpsc::Sender<Message>,
    entry: &mut Entry,
    started: Started,
) {
    let handle = started.handle.clone();
    entry.record.phase = JobPhase::Alive;
    entry.record.handle = Some(started.handle);
    entry.record.ports = started.ports;
    entry.fuel = None;
    entry.save();
    watch_runner(runtime, inbox, entry, handle);
}

fn watch_runner(
    runtime: &Arc<dyn Runtime>,
    inbox: &mpsc::Sender<Message>,
    entry: &mut Entry,
    handle: Handle,
) {
    let watching = launch::watch(runtime.clone(), entry.task.clone(), handle, inbox.clone());
    entry.watcher = Some(tokio::spawn(watching).abort_handle());
}

fn want(job: &DesiredJob) -> Want {
    let phase = match job.phase() {
        Phase::Run => WantPhase::Run,
        Phase::Stop => WantPhase::Stop,
        Phase::Kill => WantPhase::Kill,
    };
    Want {
        phase,
        grace_s: job.grace_s,
    }
}

fn fuel(job: DesiredJob) -> Fuel {
    Fuel {
        secrets: Arc::new(Secrets {
            env: job.secret_env.into_iter().collect(),
        }),
        credentials: job.registry_auth.map(|auth| Credentials {
            username: auth.username,
            password: auth.password,
        }),
    }
}
