//! A leader whose loop stands still must not go on leading.
//!
//! The watch is a thread of its own, because what it guards against includes a runtime whose threads are
//! all stuck. It first gives leadership away, and ends the process when not even that goes through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dstack_raft::Handle;

use crate::failure::Kind;
use crate::telemetry::events;
use crate::{env, limits};

const TICK: Duration = Duration::from_secs(1);

/// The loop's sign of life.
#[derive(Clone)]
pub struct Pulse {
    inner: Arc<Inner>,
}

struct Inner {
    start: Instant,
    leading: AtomicBool,
    last_ms: AtomicU64,
    ended: AtomicBool,
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse {
            inner: Arc::new(Inner {
                start: env::monotonic(),
                leading: AtomicBool::new(false),
                last_ms: AtomicU64::new(0),
                ended: AtomicBool::new(false),
            }),
        }
    }
}

impl Pulse {
    pub fn begin(&self) {
        self.beat();
        self.inner.leading.store(true, Ordering::Release);
    }

    pub fn beat(&self) {
        self.inner
            .last_ms
            .store(self.elapsed_ms(), Ordering::Release);
    }

    pub fn end(&self) {
        self.inner.leading.store(false, Ordering::Release);
    }

    /// Ends the watch.
    pub fn retire(&self) {
        self.inner.ended.store(true, Ordering::Release);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.inner.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long the loop has been silent while it should not be.
    fn silence(&self) -> Duration {
        if !self.inner.leading.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        let last = self.inner.last_ms.load(Ordering::Acquire);
        Duration::from_millis(self.elapsed_ms().saturating_sub(last))
    }
}

/// What a silence calls for.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    GiveAway,
    End,
}

fn judge(silence: Duration, already_given: bool) -> Verdict {
    if silence >= limits::STALL_EXIT {
        Verdict::End
    } else if silence >= limits::STALL_TRANSFER && !already_given {
        Verdict::GiveAway
    } else {
        Verdict::Fine
    }
}

/// Starts the watching thread.
pub fn watch(pulse: Pulse, raft: Handle) -> std::io::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        let mut given = false;
        while !pulse.inner.ended.load(Ordering::Acquire) {
            let before = env::monotonic();
            std::thread::sleep(TICK);
            // The whole process was stopped or starved: the loop had no chance either.
            if before.elapsed() > TICK * 3 {
                pulse.beat();
            }
            let silence = pulse.silence();
            match judge(silence, given) {
                Verdict::Fine => given = given && silence >= limits::STALL_TRANSFER,
                Verdict::GiveAway => {
                    given = true;
                    events::LoopStalled { silence }.emit();
                    let raft = raft.clone();
                    runtime.spawn(async move {
                        if let Err(error) = raft.transfer_leadership().await {
                            tracing::error!(%error, "a stalled leader could not give its leadership away");
                        }
                    });
                }
                Verdict::End => {
                    eprintln!("Error: the leader's loop stood still for {} s", silence.as_secs());
                    std::process::exit(i32::from(Kind::Fatal.code()));
                }
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_first_costs_leadership_then_the_process() {
        assert_eq!(judge(Duration::from_secs(1), false), Verdict::Fine);
        assert_eq!(judge(limits::STALL_TRANSFER, false), Verdict::GiveAway);
        assert_eq!(judge(limits::STALL_TRANSFER, true), Verdict::Fine);
        assert_eq!(judge(limits::STALL_EXIT, true), Verdict::End);
    }

    #[test]
    fn a_follower_is_never_silent() {
        let pulse = Pulse::default();
        assert_eq!(pulse.silence(), Duration::ZERO);
        pulse.begin();
        pulse.end();
        assert_eq!(pulse.silence(), Duration::ZERO);
    }
}
