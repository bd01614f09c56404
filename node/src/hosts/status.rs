//! What is known about one link, for the leader's facts.

use dstack_api::agent::{Observed, phase};
use dstack_domain::facts::AgentFact;
use dstack_domain::ids::SubmissionId;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};

use crate::logs::{Key, Stream};

#[derive(Default)]
struct Known {
    connected: bool,
    trying_since: Option<Timestamp>,
    error: Option<String>,
    /// Up to where a majority has each stream.
    stored: BTreeMap<Key, u64>,
    /// Exited jobs: where their streams end.
    ends: BTreeMap<SubmissionId, [(Stream, u64); 2]>,
    /// Jobs that cannot be ordered: there is no output to wait for.
    refused: BTreeSet<SubmissionId>,
}

#[derive(Default)]
pub struct Status(Mutex<Known>);

impl Status {
    /// A link that is to be made, from now on.
    pub fn trying(now: Timestamp) -> Self {
        Self(Mutex::new(Known {
            trying_since: Some(now),
            ..Known::default()
        }))
    }

    /// True when that is news.
    pub fn connected(&self) -> bool {
        let mut known = self.0.lock();
        (known.trying_since, known.error) = (None, None);
        !std::mem::replace(&mut known.connected, true)
    }

    /// True when that is news.
    pub fn failed(&self, now: Timestamp, error: &str) -> bool {
        let mut known = self.0.lock();
        let news = known.connected || known.error.as_deref() != Some(error);
        known.connected = false;
        known.trying_since.get_or_insert(now);
        known.error = Some(error.to_owned());
        news
    }

    pub fn fact(&self, last_seen: Option<Timestamp>) -> AgentFact {
        let known = self.0.lock();
        AgentFact {
            connected: known.connected,
            last_seen,
            trying_since: known.trying_since,
            error: known.error.clone(),
        }
    }

    pub fn observed(&self, observed: &Observed) {
        let exited = observed
            .jobs
            .iter()
            .filter(|job| job.phase == phase::EXITED);
        let ends = exited.filter_map(|job| {
            let ends = [
                (Stream::Job, job.job_log_end),
                (Stream::Runner, job.runner_log_end),
            ];
            Some((job.submission_id.parse().ok()?, ends))
        });
        let named: BTreeSet<SubmissionId> = observed
            .jobs
            .iter()
            .filter_map(|job| job.submission_id.parse().ok())
            .collect();
        let mut known = self.0.lock();
        known.ends = ends.collect();
        known
            .stored
            .retain(|key, _| named.contains(&key.submission));
    }

    /// True when an exited job's output is complete with that.
    pub fn stored(&self, key: Key, upto: u64) -> bool {
        let mut known = self.0.lock();
        let entry = known.stored.entry(key).or_default();
        *entry = upto.max(*entry);
        known
            .ends
            .get(&key.submission)
            .is_some_and(|ends| known.is_complete(key.submission, ends))
    }

    pub fn refused(&self, submission: SubmissionId) {
        self.0.lock().refused.insert(submission);
    }

    pub fn forget_refused(&self, but: &BTreeSet<SubmissionId>) {
        self.0
            .lock()
            .refused
            .retain(|submission| but.contains(submission));
    }

    /// Exited jobs whose output a majority has to its end.
    pub fn drained(&self) -> BTreeSet<SubmissionId> {
        let known = self.0.lock();
        let complete = known
            .ends
            .iter()
            .filter(|(id, ends)| known.is_complete(**id, ends))
            .map(|(id, _)| *id);
        complete.chain(known.refused.iter().copied()).collect()
    }
}

impl Known {
    fn is_complete(&self, submission: SubmissionId, ends: &[(Stream, u64); 2]) -> bool {
        let stored = |stream| {
            self.stored
                .get(&Key::new(submission, stream))
                .copied()
                .unwrap_or(0)
        };
        ends.iter().all(|(stream, end)| stored(*stream) >= *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dstack_api::agent::ObservedJob;

    fn id(n: u128) -> SubmissionId {
        SubmissionId::from(uuid::Uuid::from_u128(n))
    }

    fn exited(n: u128, job: u64, runner: u64) -> ObservedJob {
        ObservedJob {
            submission_id: id(n).to_string(),
            phase: phase::EXITED.into(),
            job_log_end: job,
            runner_log_end: runner,
            ..ObservedJob::default()
        }
    }

    #[test]
    fn a_job_is_drained_when_both_streams_are_stored() {
        let status = Status::default();
        let running = ObservedJob {
            phase: phase::RUNNING.into(),
            ..exited(2, 0, 0)
        };
        status.observed(&Observed {
            jobs: vec![exited(1, 100, 10), running, exited(3, 0, 0)],
            ..Observed::default()
        });
        assert_eq!(status.drained(), [id(3)].into());
        assert!(!status.stored(Key::new(id(1), Stream::Job), 100));
        assert!(status.stored(Key::new(id(1), Stream::Runner), 10));
        assert_eq!(status.drained(), [id(1), id(3)].into());
        assert!(!status.stored(Key::new(id(2), Stream::Job), 1));
        status.observed(&Observed::default());
        assert!(status.drained().is_empty());
    }

    #[test]
    fn silence_is_counted_from_the_first_failure() {
        let (one, two) = (
            Timestamp::from_second(1).unwrap(),
            Timestamp::from_second(2).unwrap(),
        );
        let status = Status::trying(one);
        assert!(status.failed(two, "no"));
        assert!(!status.failed(two, "no"));
        assert_eq!(status.fact(None).trying_since, Some(one));
        assert!(status.connected());
        assert!(!status.connected());
        assert!(status.failed(two, "no"));
        let fact = status.fact(Some(one));
        assert_eq!(
            (fact.connected, fact.trying_since, fact.last_seen),
            (false, Some(two), Some(one))
        );
    }
}
