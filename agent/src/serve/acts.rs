//! Decided acts, and what came of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::entry::{Entry, LaunchStep, Launching};
use super::reconciler::{Message, Reconciler};
use super::{archives, launch};
use crate::clock;
use crate::decide::{Act, Stopping, decide};
use crate::record::{ExitRecord, Handle, JobPhase, reason};
use crate::runtime::{Runtime, StartError, Started};

impl Reconciler {
    pub(super) fn act(&mut self) {
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

    pub(super) fn prepared(&mut self, submission: Uuid, go: oneshot::Sender<()>) {
        let launching = self
            .jobs
            .get_mut(&submission)
            .and_then(|entry| entry.launching.as_mut());
        if let Some(launching) = launching {
            launching.step = LaunchStep::Creating;
            let _ = go.send(());
        }
    }

    pub(super) fn started(&mut self, submission: Uuid, result: Result<Started, StartError>) {
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

    pub(super) fn found(&mut self, submission: Uuid, found: Option<Started>) {
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

    pub(super) fn forgotten(&mut self, submission: Uuid, removed: bool) {
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

pub(super) fn watch_runner(
    runtime: &Arc<dyn Runtime>,
    inbox: &mpsc::Sender<Message>,
    entry: &mut Entry,
    handle: Handle,
) {
    let watching = launch::watch(runtime.clone(), entry.task.clone(), handle, inbox.clone());
    entry.watcher = Some(tokio::spawn(watching).abort_handle());
}
