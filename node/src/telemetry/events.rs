//! Notable events. Each is one type that writes its log line and counts itself, so that the two cannot
//! tell different stories.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! counters {
    ($($name:ident),+ $(,)?) => {
        $(static $name: AtomicU64 = AtomicU64::new(0);)+

        /// Every counter with its name, for export.
        pub fn counters() -> Vec<(&'static str, u64)> {
            vec![$((stringify!($name), $name.load(Ordering::Relaxed))),+]
        }
    };
}

counters!(
    LEADERSHIPS_TAKEN,
    LEADERSHIPS_LOST,
    STEPS_REFUSED,
    LOOP_STALLS,
    HASH_COMPARISONS,
    HASH_MISMATCHES
);

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The leader's loop begins.
pub struct LeadershipTaken {
    pub term: u64,
}

impl LeadershipTaken {
    pub fn emit(self) {
        count(&LEADERSHIPS_TAKEN);
        tracing::info!(term = self.term, "this replica leads");
    }
}

/// The leader's loop ends.
pub struct LeadershipLost {
    pub term: u64,
}

impl LeadershipLost {
    pub fn emit(self) {
        count(&LEADERSHIPS_LOST);
        tracing::info!(term = self.term, "this replica no longer leads");
    }
}

/// A step of the loop was not applied. Usual: the state moved on between deciding and applying.
pub struct StepRefused<'a> {
    pub command: &'static str,
    pub term: u64,
    pub why: &'a dyn Error,
}

impl StepRefused<'_> {
    pub fn emit(self) {
        count(&STEPS_REFUSED);
        tracing::debug!(command = self.command, term = self.term, why = %self.why, "a step was refused");
    }
}

/// Deciding panicked; the loop cannot go on.
pub struct LoopBroken<'a> {
    pub why: &'a dyn Error,
}

impl LoopBroken<'_> {
    pub fn emit(self) {
        count(&LOOP_STALLS);
        tracing::error!(why = %self.why, "the leader's loop broke");
    }
}

/// The leader's loop has not come round for too long.
pub struct LoopStalled {
    pub silence: Duration,
}

impl LoopStalled {
    pub fn emit(self) {
        count(&LOOP_STALLS);
        tracing::error!(
            silence_s = self.silence.as_secs(),
            "the leader's loop stands still; giving leadership away"
        );
    }
}

/// State hashes of several replicas at one index were compared, and agreed.
pub struct HashesAgree {
    pub index: u64,
    pub replicas: usize,
}

impl HashesAgree {
    pub fn emit(self) {
        count(&HASH_COMPARISONS);
        tracing::trace!(
            index = self.index,
            replicas = self.replicas,
            "state hashes agree"
        );
    }
}

/// Replicas that applied the same log hold different state: a bug, or a damaged disk.
pub struct HashesDiffer<'a> {
    pub index: u64,
    pub mine: u64,
    pub theirs: &'a [(u64, u64)],
}

impl HashesDiffer<'_> {
    pub fn emit(self) {
        count(&HASH_MISMATCHES);
        tracing::error!(
            index = self.index,
            mine = format_args!("{:016x}", self.mine),
            theirs = ?self.theirs.iter().map(|(id, hash)| format!("{id}:{hash:016x}")).collect::<Vec<_>>(),
            "replicas hold different state at the same log index"
        );
    }
}
