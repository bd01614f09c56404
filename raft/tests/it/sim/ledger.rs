//! What was ever promised, by anybody. Every promise is checked against all earlier ones when it is
//! made, so a broken one is seen at once, also when a crash hides it afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dstack_raft::echo::Echo;
use dstack_raft::{Applied, Committed, Machine, MachineError};
use dstack_storage::Rows;
use parking_lot::Mutex;

#[derive(Default)]
pub struct Ledger {
    /// Who led a term.
    leaders: BTreeMap<u64, u64>,
    /// Whom a voter granted a term to.
    grants: BTreeMap<(u64, u64), u64>,
    /// The highest term a replica has shown to others.
    terms: BTreeMap<u64, u64>,
    /// What was applied at an index.
    applied: BTreeMap<u64, (u64, Bytes)>,
    /// Acknowledged writes: index and payload.
    pub acknowledged: BTreeMap<u64, Bytes>,
}

pub type Shared = Arc<Mutex<Ledger>>;

impl Ledger {
    /// Election safety: one leader per term.
    pub fn leads(&mut self, term: u64, node: u64) {
        let first = *self.leaders.entry(term).or_insert(node);
        assert_eq!(first, node, "term {term} has two leaders");
    }

    /// S1: a vote is given once per term, whatever crashes in between.
    pub fn granted(&mut self, voter: u64, term: u64, candidate: u64) {
        let first = *self.grants.entry((voter, term)).or_insert(candidate);
        assert_eq!(
            first, candidate,
            "replica {voter} voted twice in term {term}"
        );
    }

    /// Terms never go back, not over restarts either.
    pub fn shows_term(&mut self, node: u64, term: u64) {
        let highest = self.terms.entry(node).or_insert(0);
        assert!(
            *highest <= term,
            "replica {node} went back from term {highest} to {term}"
        );
        *highest = term;
    }

    /// State machine safety: whoever applies an index, ever, applies the same.
    pub fn applies(&mut self, entry: &Committed) {
        let what = (entry.term, entry.payload.clone());
        let first = self
            .applied
            .entry(entry.index)
            .or_insert_with(|| what.clone());
        assert_eq!(
            *first, what,
            "two things were applied at index {}",
            entry.index
        );
    }

    /// An acknowledged write is the one that was applied at its index.
    pub fn acknowledges(&mut self, index: u64, payload: &Bytes) {
        let applied = self.applied.get(&index).map(|(_, payload)| payload);
        assert_eq!(
            applied,
            Some(payload),
            "index {index} was acknowledged for something else"
        );
        self.acknowledged.insert(index, payload.clone());
    }
}

/// The echo machine, with every applied entry written into the ledger.
pub struct Watched {
    pub echo: Echo,
    pub ledger: Shared,
}

impl Machine for Watched {
    fn load(&mut self, rows: &dyn Rows, applied: u64) -> Result<(), MachineError> {
        self.echo.load(rows, applied)
    }

    fn apply(
        &mut self,
        batch: &[Committed],
        rows: &dyn Rows,
    ) -> Result<Vec<Applied>, MachineError> {
        for entry in batch {
            self.ledger.lock().applies(entry);
        }
        self.echo.apply(batch, rows)
    }

    fn published(&mut self, index: u64) {
        self.echo.published(index);
    }

    fn state_hash(&self) -> u64 {
        self.echo.state_hash()
    }
}
