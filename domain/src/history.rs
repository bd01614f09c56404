//! Reading what has left memory: keys to scan and rows to decode. The caller brings the rows.

use crate::encoding::{EncodingError, decode};
use crate::ids::{ProjectId, RunId};
use crate::model::{Event, Run, Submission};
use crate::spec::{JobSpec, RunSpec};
use crate::state::rows as keys;
use crate::state::{RowChange, Table};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A run read back from `Table::History`. Its submissions are ordered by (replica, job, attempt).
#[derive(Clone, Debug, PartialEq)]
pub struct PastRun {
    pub run: Run,
    pub submissions: Vec<Submission>,
}

/// `Table::Index`: the first bytes of the keys of all runs of a project, oldest first. Live runs are
/// among them.
pub fn runs_prefix(project: ProjectId) -> Vec<u8> {
    keys::prefix(keys::RUN_TIME, project.bytes())
}

/// The place of a run among its project's: scan backwards from here for older ones.
pub fn run_place(project: ProjectId, submitted_at: Timestamp, run: RunId) -> Vec<u8> {
    keys::run_time_key(project, submitted_at, run)
}

/// What a key under `runs_prefix` says.
pub fn parse_run_place(key: &[u8]) -> Option<(Timestamp, RunId)> {
    let time: [u8; 8] = key.get(17..25)?.try_into().ok()?;
    let id: [u8; 16] = key.get(25..41)?.try_into().ok()?;
    Some((keys::time_from_bytes(time)?, RunId(Uuid::from_bytes(id))))
}

/// `Table::Index`: the key whose value is the id of the undeleted run of this name. A run in
/// history whose name leads elsewhere, or nowhere, was deleted.
pub fn run_name_key(project: ProjectId, name: &str) -> Vec<u8> {
    keys::run_name_key(project, name)
}

pub fn parse_run_id(value: &[u8]) -> Option<RunId> {
    Some(RunId(Uuid::from_bytes(value.try_into().ok()?)))
}

/// `Table::History`: all rows of one run begin with these bytes.
pub fn run_prefix(run: RunId) -> Vec<u8> {
    run.bytes().to_vec()
}

/// Puts a run together from its rows, in any order. `None` when there are none.
pub fn assemble_run<K, V>(
    rows: impl IntoIterator<Item = (K, V)>,
) -> Result<Option<PastRun>, EncodingError>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let mut run: Option<Run> = None;
    let mut spec: Option<RunSpec> = None;
    let mut jobs: BTreeMap<Vec<u8>, JobSpec> = BTreeMap::new();
    let mut submissions: Vec<Submission> = Vec::new();
    for (key, value) in rows {
        let (key, value) = (key.as_ref(), value.as_ref());
        match key.get(16) {
            Some(b'r') => run = Some(decode(value)?),
            Some(b's') => spec = Some(decode(value)?),
            Some(b'j') => {
                jobs.insert(key.to_vec(), decode(value)?);
            }
            Some(b'x') => submissions.push(decode(value)?),
            _ => {}
        }
    }
    let (Some(mut run), Some(spec)) = (run, spec) else {
        return Ok(None);
    };
    run.spec = Arc::new(spec);
    run.jobs = Arc::new(jobs.into_values().map(Arc::new).collect());
    submissions.sort_by_key(|s| (s.replica_num, s.job_num, s.submission_num));
    Ok(Some(PastRun { run, submissions }))
}

/// `Table::Index`: events that name this thing; the rest of each key is the event's key in
/// `Table::Events`.
pub fn events_of_target(target: Uuid) -> Vec<u8> {
    keys::prefix(keys::EVENT_TARGET, *target.as_bytes())
}

/// `Table::Index`: events of things within this project, fleet or run.
pub fn events_within(scope: Uuid) -> Vec<u8> {
    keys::prefix(keys::EVENT_SCOPE, *scope.as_bytes())
}

/// The event's key in `Table::Events`, from a key of one of the two indexes above.
pub fn event_key_of(index_key: &[u8]) -> Option<&[u8]> {
    index_key.get(17..)
}

/// The least key of `Table::Events` at or after this moment.
pub fn events_from(at: Timestamp) -> Vec<u8> {
    keys::time_bytes(at).to_vec()
}

/// When the event of this key in `Table::Events` was recorded.
pub fn event_moment(key: &[u8]) -> Option<Timestamp> {
    keys::time_from_bytes(*key.first_chunk()?)
}

/// What deletes an event of `Table::Events` and every row that leads to it.
pub fn without_event(key: &[u8], value: &[u8]) -> Result<Vec<RowChange>, EncodingError> {
    let event = decode_event(value)?;
    let gone = |table: Table, key: Vec<u8>| RowChange {
        table,
        key,
        value: None,
    };
    let index = keys::event_index_keys(&event, key).into_iter();
    let index = index.map(|key| gone(Table::Index, key));
    Ok(index.chain([gone(Table::Events, key.to_vec())]).collect())
}

pub fn decode_event(value: &[u8]) -> Result<Event, EncodingError> {
    decode(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Lab, admin};
    use serde_json::json;

    #[test]
    fn an_event_leaves_no_row_behind() {
        let mut lab = Lab::new();
        lab.submit("train", json!({"nodes": 2}));
        let events: Vec<_> = lab
            .rows
            .iter()
            .filter(|((table, _), _)| *table == Table::Events)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        for (key, value) in events {
            assert_eq!(event_moment(&key), Some(lab.now));
            for change in without_event(&key, &value).unwrap() {
                let place = (change.table, change.key);
                assert!(lab.rows.remove(&place).is_some(), "{place:?} was there");
            }
        }
        let left = lab.rows.keys().filter(|(table, key)| match table {
            Table::Events => true,
            Table::Index => [keys::EVENT_TARGET, keys::EVENT_SCOPE].contains(&key[0]),
            _ => false,
        });
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn events_are_found_by_target_and_by_scope() {
        let mut lab = Lab::new();
        let run = lab.submit("train", json!({"nodes": 2}));
        let told = |prefix: Vec<u8>| -> Vec<String> {
            let keys = lab
                .rows
                .keys()
                .filter(|(table, key)| *table == Table::Index && key.starts_with(&prefix));
            keys.map(|(_, key)| {
                let key = event_key_of(key).unwrap().to_vec();
                let event = decode_event(&lab.rows[&(Table::Events, key)]).unwrap();
                assert_eq!(event.actor_user_id, Some(admin()));
                event.message
            })
            .collect()
        };
        assert_eq!(
            told(events_of_target(run.id.0)),
            ["Run submitted. Status: SUBMITTED"]
        );
        let job = "Job created on run submission. Status: SUBMITTED";
        assert_eq!(
            told(events_within(run.id.0)),
            ["Run submitted. Status: SUBMITTED", job, job]
        );
        assert!(
            lab.rows
                .keys()
                .any(|(table, key)| *table == Table::Events && *key >= events_from(lab.now))
        );
    }
}
