//! One fsync for everybody who waits (S2, S4).
//!
//! Writers put their bytes into the write-ahead log and a callback into this queue, both under their own
//! lock, so the queue has the order of the log. One thread takes the whole queue, syncs once, and calls
//! back in order. While it syncs, the next group gathers.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

use crate::engine::{Done, Result};
use crate::error::StorageError;

#[derive(Default)]
struct State {
    waiting: Vec<Done>,
    stopping: bool,
    /// The first failure. Nothing is written after it: a page whose fsync failed may have been dropped by
    /// the kernel, so a second fsync that succeeds proves nothing (S11).
    failed: Option<StorageError>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

pub(crate) struct GroupCommit {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl GroupCommit {
    /// Starts the thread. `sync` makes everything written before its call durable.
    pub(crate) fn start(sync: impl FnMut() -> Result<()> + Send + 'static) -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let on_thread = queue.clone();
        let thread = thread::Builder::new()
            .name("log-sync".to_owned())
            .spawn(move || {
                let end = StopOnPanic(&on_thread);
                on_thread.run(sync);
                std::mem::forget(end);
            })
            .map_err(|error| {
                StorageError::io("start a thread for", "the log's fsync".as_ref(), error)
            })?;
        Ok(GroupCommit {
            queue,
            thread: Some(thread),
        })
    }

    /// Calls `done` after the next sync. Call it under the lock that orders the writes.
    pub(crate) fn push(&self, done: Done) {
        let mut state = self.queue.state.lock();
        if let Some(first) = &state.failed {
            let error = first.stopped();
            drop(state);
            done(Err(error));
            return;
        }
        state.waiting.push(done);
        self.queue.wake.notify_one();
    }

    /// Refuses when something failed before.
    pub(crate) fn check(&self) -> Result<()> {
        self.queue
            .state
            .lock()
            .failed
            .as_ref()
            .map_or(Ok(()), |first| Err(first.stopped()))
    }

    /// Remembers the first failure of a write.
    pub(crate) fn fail(&self, error: &StorageError) {
        self.queue
            .state
            .lock()
            .failed
            .get_or_insert_with(|| error.clone());
    }
}

impl Queue {
    fn run(&self, mut sync: impl FnMut() -> Result<()>) {
        loop {
            let group = {
                let mut state = self.state.lock();
                while state.waiting.is_empty() && !state.stopping {
                    self.wake.wait(&mut state);
                }
                if state.waiting.is_empty() {
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let outcome = match self.failure() {
                Some(first) => Err(first.stopped()),
                None => sync(),
            };
            if let Err(error) = &outcome {
                tracing::error!(error = %error, cause = ?std::error::Error::source(error), "the log could not be made durable; it takes no more writes");
                self.state
                    .lock()
                    .failed
                    .get_or_insert_with(|| error.clone());
            }
            for done in group {
                done(outcome.clone());
            }
        }
    }

    fn failure(&self) -> Option<StorageError> {
        self.state.lock().failed.clone()
    }
}

/// A callback that panics must not leave writers waiting for a thread that is gone.
struct StopOnPanic<'a>(&'a Queue);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        let error = StorageError::refused(
            "sync the log",
            "its thread has panicked; restart the replica",
        );
        let mut state = self.0.state.lock();
        state.failed.get_or_insert(error.clone());
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for done in waiting {
            done(Err(error.stopped()));
        }
    }
}

impl Drop for GroupCommit {
    /// Everything pushed is synced and called back before this returns.
    fn drop(&mut self) {
        self.queue.state.lock().stopping = true;
        self.queue.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A callback may hold the last handle to the engine; a thread cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
