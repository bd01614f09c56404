//! Memory follows what is alive: of the finished runs a bounded number stays in memory, and of
//! uploaded archives those that somebody may still want.

use super::pass::Pass;
use crate::command::{ForgetRuns, SweepArchives};
use crate::ids::{ArchiveId, RunId};

/// Finished runs kept in memory, the newest ones.
pub const FINISHED_KEPT: usize = 1000;
/// Moved per entry, to bound its effect.
const BATCH: usize = 50;

pub(super) fn decide(pass: &mut Pass) {
    runs(pass);
    archives(pass);
}

fn runs(pass: &mut Pass) {
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

fn archives(pass: &mut Pass) {
    let Some(first) = pass.draft.archives_by_use().next().map(|a| a.due_at()) else {
        return;
    };
    if !pass.due(first) {
        return;
    }
    let now = pass.now;
    let archives: Vec<ArchiveId> = pass
        .draft
        .archives_by_use()
        .take_while(|archive| archive.due_at() <= now)
        .take(BATCH)
        .map(|archive| archive.id)
        .collect();
    pass.propose(SweepArchives { archives });
}

#[cfg(test)]
mod tests {
    use crate::command::{Command, RegisterArchive};
    use crate::decide::decide;
    use crate::facts::Facts;
    use crate::ids::ArchiveId;
    use crate::model::Archive;
    use crate::step::Step;
    use crate::testing::Lab;

    fn sweeps(lab: &Lab) -> Vec<Command> {
        let decision = decide(&lab.state, &Facts::default(), lab.now);
        let commands = decision.steps.into_iter().filter_map(|step| match step {
            Step::Propose(command @ Command::SweepArchives(_)) => Some(command),
            _ => None,
        });
        commands.collect()
    }

    #[test]
    fn archives_are_swept_once_due_and_the_loop_asks_to_be_woken_then() {
        let mut lab = Lab::new();
        let upload = RegisterArchive {
            id: ArchiveId::from_random([1; 16]),
            sha256: "ab".into(),
            size: 1,
        };
        lab.admin(upload).unwrap();
        assert_eq!(sweeps(&lab), []);
        let next = decide(&lab.state, &Facts::default(), lab.now).next;
        assert_eq!(next, Some(lab.now + Archive::KEPT));
        lab.now += Archive::KEPT;
        let commands = sweeps(&lab);
        assert_eq!(commands.len(), 1);
        lab.system(commands[0].clone()).unwrap();
        assert_eq!(lab.state.archives().count(), 0);
        assert_eq!(sweeps(&lab), []);
    }
}
