//! Memory follows what is alive: of the finished runs a bounded number stays in memory.

use super::pass::Pass;
use crate::command::ForgetRuns;
use crate::ids::RunId;

/// Finished runs kept in memory, the newest ones.
pub const FINISHED_KEPT: usize = 1000;
/// Moved per entry, to bound its effect.
const BATCH: usize = 50;

pub(super) fn decide(pass: &mut Pass) {
    let surplus = pass
        .draft
        .finished_run_count()
        .saturating_sub(FINISHED_KEPT);
    // In batches, so that a full memory does not cost an entry per run.
    if surplus < BATCH {
        return;
    }
    let runs: Vec<RunId> = pass
        .draft
        .finished_runs()
        .take(surplus.min(BATCH))
        .map(|run| run.id)
        .collect();
    pass.propose(ForgetRuns { runs });
}
