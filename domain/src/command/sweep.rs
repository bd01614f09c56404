//! What a look at a whole account showed: things that bear our mark and that nobody remembers.

use super::{Outcome, Reply, events};
use crate::ids::{IntentId, ProjectId};
use crate::model::{Intent, Kind, Phase, Purpose, Seen};
use crate::rejection::Rejection;
use crate::spec::BackendType;
use crate::state::{Draft, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Seconds between the first look that shows a stray and its removal.
const WAIT_SECONDS: i64 = 20;
/// So many strays are removed without being asked. More of them look like a mistake of ours, not of a crash.
const REMOVED_MOST: usize = 10;

/// One thing in the account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Found {
    pub kind: Kind,
    pub key: String,
    /// The cloud's own name for it.
    pub id: String,
}

/// Those that no record means. Records of all projects count: they may share an account, and their things bear the same
/// mark.
pub fn without_record<'a>(state: &State, found: &'a [Found]) -> Vec<&'a Found> {
    let records = state.intents().filter(|one| one.fleet_id.is_some());
    let recorded: BTreeSet<(Kind, &str)> =
        records.map(|one| (one.kind(), one.key.as_str())).collect();
    // A machine's record speaks for its disk as well.
    let is_known = |found: &Found| {
        let key = found.key.as_str();
        recorded.contains(&(found.kind, key))
            || (found.kind == Kind::Disk && recorded.contains(&(Kind::Machine, key)))
    };
    found.iter().filter(|one| !is_known(one)).collect()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordSweep {
    pub project: ProjectId,
    pub backend: BackendType,
    /// Only what had no record when the sweep was over: the rest is nobody's news.
    pub found: Vec<Found>,
    /// Whether strays are removed, or only shown.
    pub remove: bool,
}

impl RecordSweep {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        if draft.project(self.project).is_none() {
            return Err(Rejection::stale("The project is gone"));
        }
        let strays = without_record(draft, &self.found);
        let few = strays.len() <= REMOVED_MOST;
        for found in strays {
            self.stray(draft, found, self.remove && few);
        }
        self.forget_vanished(draft);
        Ok(Reply::None)
    }

    fn id(&self, found: &Found) -> IntentId {
        let parts = [
            &self.project.bytes()[..],
            self.backend.as_str().as_bytes(),
            found.kind.as_str().as_bytes(),
            found.key.as_bytes(),
        ];
        IntentId::derived("stray", &parts)
    }

    /// Seen once it is noted, seen again after a while it is removed.
    fn stray(&self, draft: &mut Draft, found: &Found, remove: bool) {
        let id = self.id(found);
        match draft.intent(id).cloned() {
            None => {
                let what = "is in the account without a record. It is watched, and costs money";
                self.note(draft, found, what);
                draft.put_intent(self.record(draft, id, found));
            }
            Some(known) => {
                let waited = draft.at.duration_since(known.created_at).as_secs() >= WAIT_SECONDS;
                if remove && waited && known.phase == Phase::Doubtful {
                    self.note(draft, found, "has no record and is removed");
                    let mut changed = known.as_ref().clone();
                    changed.phase = Phase::Releasing;
                    changed.generation += 1;
                    draft.put_intent(changed);
                }
            }
        }
    }

    fn record(&self, draft: &Draft, id: IntentId, found: &Found) -> Intent {
        let purpose = Purpose::Stray { kind: found.kind };
        let key = found.key.clone();
        Intent {
            phase: Phase::Doubtful,
            seen: Some(Seen {
                id: found.id.clone(),
                address: None,
                internal_address: None,
                user: String::new(),
                port: 0,
            }),
            ..Intent::new(id, self.project, self.backend, key, purpose, draft.at)
        }
    }

    /// Strays that are only watched and that the account does not show any more.
    fn forget_vanished(&self, draft: &mut Draft) {
        let there: BTreeSet<IntentId> = self.found.iter().map(|found| self.id(found)).collect();
        let gone: Vec<IntentId> = draft
            .strays_of(self.project, self.backend)
            .filter(|one| one.phase == Phase::Doubtful && !there.contains(&one.id))
            .map(|one| one.id)
            .collect();
        for id in gone {
            draft.remove_intent(id);
        }
    }

    fn note(&self, draft: &mut Draft, found: &Found, what: &str) {
        let Some(project) = draft.project(self.project).cloned() else {
            return;
        };
        let message = format!("{} {} {what}", found.kind.as_str(), found.key);
        draft.emit(message, vec![events::project(&project)], &[]);
    }
}
