//! The one task that owns the host's jobs. It takes messages, decides, acts, and publishes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dstack_api::agent::{Desired, Observed};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::acts::watch_runner;
use super::entry::Entry;
use super::guest_keys::GuestKeys;
use super::latecomers::Latecomers;
use super::launch;
use super::observed::{Snapshot, Spool, describe};
use crate::durable;
use crate::home::Home;
use crate::ledger::{Ledger, Refusal};
use crate::record::{JobPhase, Running};
use crate::runtime::{Gone, Runtime, StartError, Started};

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
    pub(super) home: Home,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) ledger: Ledger,
    pub(super) jobs: BTreeMap<Uuid, Entry>,
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) inbox: mpsc::Sender<Message>,
    pub(super) published: watch::Sender<Arc<Snapshot>>,
    pub(super) active: watch::Sender<Option<ActiveLink>>,
    guest_keys: GuestKeys,
    latecomers: Latecomers,
}

impl Reconciler {
    /// Reads the ledger and the jobs that an earlier life left.
    pub fn open(
        home: Home,
        runtime: Arc<dyn Runtime>,
        guests: Option<PathBuf>,
    ) -> anyhow::Result<(Self, Handles)> {
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
                guest_keys: GuestKeys::new(&home, guests),
                latecomers: Latecomers::new(&home),
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
            self.let_guests_in();
            self.publish();
            tokio::select! {
                Some(message) = self.messages.recv() => self.receive(message),
                _ = round.tick() => {
                    self.jobs.values_mut().for_each(Entry::save_again);
                    self.latecomers.round();
                }
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
                    self.latecomers.answer_for(entry);
                }
            }
            Message::Forgotten {
                submission,
                removed,
            } => self.forgotten(submission, removed),
        }
    }

    /// Before the server hears that a job runs, its users must be able to reach it.
    fn let_guests_in(&mut self) {
        let here = self
            .jobs
            .values()
            .filter(|entry| entry.record.phase == JobPhase::Alive);
        let grants = here
            .flat_map(Entry::grants)
            .chain(self.latecomers.grants().cloned());
        self.guest_keys.show(grants.collect());
    }

    fn busy(&self) -> bool {
        self.jobs
            .values()
            .any(|entry| entry.record.phase != JobPhase::Exited)
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
