//! The replicated memory: the log as bytes, the state it makes, the rows on disk. Transitions
//! are checked at every entry, so a property that breaks is caught near the entry that broke it.

use dstack_domain::check::{Grade, check};
use dstack_domain::command::{Applied, Entry, apply};
use dstack_domain::encoding::{decode_entry, encode_entry};
use dstack_domain::model::Lawful;
use dstack_domain::state::{State, Table};
use std::collections::BTreeMap;

/// The whole state is checked after every so many entries; the statuses after each.
const CHECK_EVERY: usize = 8;

#[derive(Clone)]
pub struct Memory {
    /// Whether every entry is checked; measurements turn it off.
    pub checked: bool,
    pub state: State,
    pub log: Vec<Vec<u8>>,
    pub rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            checked: true,
            state: State::default(),
            log: Vec::new(),
            rows: BTreeMap::new(),
        }
    }
}

impl Memory {
    pub fn commit(&mut self, entry: &Entry) -> Applied {
        let bytes = encode_entry(entry).expect("an entry encodes");
        let mut read = decode_entry(&bytes).expect("an entry decodes");
        assert_eq!(
            read.command, entry.command,
            "an entry changed on its way through the log"
        );
        self.log.push(bytes);
        read.index = self.log.len() as u64;
        let before = self.state.clone();
        let applied = apply(&mut self.state, &read);
        for change in &applied.changes {
            let key = (change.table, change.key.clone());
            match &change.value {
                Some(value) => self.rows.insert(key, value.clone()),
                None => self.rows.remove(&key),
            };
        }
        if self.checked && (applied.touched.runs || applied.touched.instances) {
            assert_lawful(&before, &self.state, read.command.name());
        }
        if self.checked && self.log.len().is_multiple_of(CHECK_EVERY) {
            let findings = check(&self.state);
            let broken: Vec<_> = findings
                .iter()
                .filter(|finding| finding.grade == Grade::Broken)
                .collect();
            assert!(broken.is_empty(), "after {:?}: {broken:?}", read.command);
        }
        applied
    }

    /// What another replica makes of the same log.
    pub fn replay(&self) -> Memory {
        let mut other = Memory::default();
        for bytes in &self.log {
            let mut entry = decode_entry(bytes).expect("an entry decodes");
            other.log.push(bytes.clone());
            entry.index = other.log.len() as u64;
            for change in apply(&mut other.state, &entry).changes {
                let key = (change.table, change.key);
                match change.value {
                    Some(value) => other.rows.insert(key, value),
                    None => other.rows.remove(&key),
                };
            }
        }
        other
    }

    /// The state as it comes back from disk.
    pub fn reload(&self) -> State {
        let rows = self
            .rows
            .iter()
            .map(|((table, key), value)| (*table, key, value));
        State::load(rows).expect("the rows load")
    }
}

/// Every status moved along its table, or not at all.
fn assert_lawful(before: &State, after: &State, command: &str) {
    for run in after.runs_newest_first() {
        if let Some(old) = before.run(run.id) {
            step(old.status, run.status, command);
        }
    }
    for submission in after.submissions() {
        if let Some(old) = before.submission(submission.id) {
            // A job without a machine passes through TERMINATING within one entry.
            let passed = dstack_domain::model::JobStatus::Terminating;
            let jump = old.status.may_become(passed) && passed.may_become(submission.status);
            assert!(
                old.status == submission.status || old.status.may_become(submission.status) || jump,
                "{command}: job {} -> {}",
                old.status.shout(),
                submission.status.shout()
            );
        }
    }
    for instance in after.instances() {
        if let Some(old) = before.instance(instance.id) {
            step(old.status, instance.status, command);
        }
    }
}

fn step<S: Lawful>(old: S, new: S, command: &str) {
    assert!(
        old == new || old.may_become(new),
        "{command}: {} -> {}",
        old.shout(),
        new.shout()
    );
}
