//! What to do next, from what the server wants and what is. Pure: no clock, no disk, no process.
//!
//! It is called after every change and once a second; it repeats an act until the act has shown
//! an effect, and every act is harmless when repeated. So a lost wake-up or a restart of the agent
//! costs a second, never a job.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long the runner has, beyond the grace, to end a job it was told to stop.
const RUNNER_SLACK: SignedDuration = SignedDuration::from_secs(5);
/// When to kill again what is still there.
const KILL_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// What the server wants of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    pub phase: WantPhase,
    pub grace_s: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WantPhase {
    Run,
    Stop,
    Kill,
}

/// What is known of one job here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub stage: Stage,
    /// Archives that have not been brought yet.
    pub archives_missing: bool,
    /// The order came with secrets and they are at hand (they are not kept on disk).
    pub secrets_ready: bool,
    pub stopping: Option<Stopping>,
    pub killed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// Accepted; nothing has been done.
    #[default]
    Waiting,
    /// Pulling or creating, in the background.
    Starting,
    /// A runner exists.
    Alive,
    Exited,
}

/// A polite stop that has been passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    pub at: Timestamp,
    pub grace_s: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Start(Uuid),
    /// End a job that has no runner yet.
    Cancel(Uuid),
    Stop(Uuid, u32),
    Kill(Uuid),
    /// Remove the folder, the container, the record.
    Forget(Uuid),
}

/// The acts that bring what is closer to what is wanted.
pub fn decide(
    desired: &BTreeMap<Uuid, Want>,
    observed: &BTreeMap<Uuid, Seen>,
    now: Timestamp,
) -> Vec<Act> {
    observed
        .iter()
        .filter_map(|(id, seen)| act(*id, desired.get(id), seen, now))
        .collect()
}

fn act(id: Uuid, want: Option<&Want>, seen: &Seen, now: Timestamp) -> Option<Act> {
    let phase = want.map_or(WantPhase::Kill, |want| want.phase);
    match (seen.stage, phase) {
        (Stage::Exited, _) => want.is_none().then_some(Act::Forget(id)),
        (Stage::Waiting, WantPhase::Run) => {
            (!seen.archives_missing && seen.secrets_ready).then_some(Act::Start(id))
        }
        (Stage::Starting | Stage::Alive, WantPhase::Run) => None,
        (Stage::Waiting | Stage::Starting, WantPhase::Stop | WantPhase::Kill) => {
            Some(Act::Cancel(id))
        }
        (Stage::Alive, WantPhase::Stop) => {
            let grace_s = want.map_or(0, |want| want.grace_s);
            stop(id, grace_s, seen, now)
        }
        (Stage::Alive, WantPhase::Kill) => kill(id, seen, now),
    }
}

fn stop(id: Uuid, grace_s: u32, seen: &Seen, now: Timestamp) -> Option<Act> {
    match seen.stopping {
        Some(stopping) if stopping.grace_s == grace_s => {
            let patience = SignedDuration::from_secs(i64::from(grace_s)) + RUNNER_SLACK;
            if now.duration_since(stopping.at) > patience {
                kill(id, seen, now)
            } else {
                None
            }
        }
        _ => Some(Act::Stop(id, grace_s)),
    }
}

fn kill(id: Uuid, seen: &Seen, now: Timestamp) -> Option<Act> {
    let due = seen
        .killed_at
        .is_none_or(|at| now.duration_since(at) > KILL_AGAIN);
    due.then_some(Act::Kill(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn one(want: Option<(WantPhase, u32)>, seen: Seen, now: i64) -> Vec<Act> {
        let desired = want.map(|(phase, grace_s)| (ID, Want { phase, grace_s }));
        decide(
            &desired.into_iter().collect(),
            &BTreeMap::from([(ID, seen)]),
            at(now),
        )
    }

    fn ready(stage: Stage) -> Seen {
        Seen {
            stage,
            secrets_ready: true,
            ..Seen::default()
        }
    }

    #[test]
    fn a_job_starts_when_nothing_is_missing() {
        let run = Some((WantPhase::Run, 0));
        assert_eq!(one(run, ready(Stage::Waiting), 0), [Act::Start(ID)]);
        let missing = Seen {
            archives_missing: true,
            ..ready(Stage::Waiting)
        };
        assert_eq!(one(run, missing, 0), []);
        let no_secrets = Seen {
            secrets_ready: false,
            ..ready(Stage::Waiting)
        };
        assert_eq!(one(run, no_secrets, 0), []);
    }

    #[test]
    fn a_job_is_never_started_twice() {
        let run = Some((WantPhase::Run, 0));
        for stage in [Stage::Starting, Stage::Alive, Stage::Exited] {
            assert_eq!(one(run, ready(stage), 1_000), [], "{stage:?}");
        }
    }

    #[test]
    fn a_stop_is_passed_on_once_and_turns_into_a_kill() {
        let want = Some((WantPhase::Stop, 10));
        assert_eq!(one(want, ready(Stage::Alive), 0), [Act::Stop(ID, 10)]);
        let stopping = Seen {
            stopping: Some(Stopping {
                at: at(0),
                grace_s: 10,
            }),
            ..ready(Stage::Alive)
        };
        assert_eq!(one(want, stopping.clone(), 14), []);
        assert_eq!(one(want, stopping.clone(), 16), [Act::Kill(ID)]);
        let killed = Seen {
            killed_at: Some(at(16)),
            ..stopping.clone()
        };
        assert_eq!(one(want, killed.clone(), 17), []);
        assert_eq!(one(want, killed, 22), [Act::Kill(ID)]);
        assert_eq!(
            one(Some((WantPhase::Stop, 2)), stopping, 1),
            [Act::Stop(ID, 2)],
            "less patience"
        );
    }

    #[test]
    fn what_has_not_begun_is_cancelled() {
        for phase in [WantPhase::Stop, WantPhase::Kill] {
            for stage in [Stage::Waiting, Stage::Starting] {
                assert_eq!(one(Some((phase, 10)), ready(stage), 0), [Act::Cancel(ID)]);
            }
        }
    }

    #[test]
    fn what_is_no_longer_wanted_is_killed_then_forgotten() {
        assert_eq!(one(None, ready(Stage::Alive), 0), [Act::Kill(ID)]);
        assert_eq!(one(None, ready(Stage::Waiting), 0), [Act::Cancel(ID)]);
        assert_eq!(one(None, ready(Stage::Exited), 0), [Act::Forget(ID)]);
    }

    #[test]
    fn an_exit_record_stays_while_the_server_wants_the_job() {
        for phase in [WantPhase::Run, WantPhase::Stop, WantPhase::Kill] {
            assert_eq!(one(Some((phase, 0)), ready(Stage::Exited), 1_000), []);
        }
    }
}
