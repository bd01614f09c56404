//! Finished runs leave memory; their rows move to history, where they are paged from disk.

use super::{Outcome, Reply};
use crate::ids::RunId;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgetRuns {
    pub runs: Vec<RunId>,
}

impl ForgetRuns {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        for id in &self.runs {
            if draft.run(*id).is_some_and(|run| run.status.is_finished()) {
                draft.archive_run(*id);
            }
        }
        Ok(Reply::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{DeleteRuns, FinishRun, StopRuns};
    use crate::history;
    use crate::model::RunStatus;
    use crate::state::Table;
    use crate::testing::Lab;
    use serde_json::json;

    fn stopped(lab: &mut Lab, name: &str) -> RunId {
        let run = lab.submit(name, json!({"nodes": 2})).id;
        lab.admin(StopRuns {
            project: lab.project,
            names: vec![name.into()],
            abort: false,
        })
        .unwrap();
        lab.system(FinishRun { run }).unwrap();
        run
    }

    fn read_back(lab: &Lab, run: RunId) -> Option<history::PastRun> {
        let prefix = history::run_prefix(run);
        let rows = lab
            .rows
            .iter()
            .filter(|((table, key), _)| *table == Table::History && key.starts_with(&prefix));
        history::assemble_run(rows.map(|((_, key), value)| (key, value))).unwrap()
    }

    fn named(lab: &Lab, name: &str) -> Option<RunId> {
        let key = (Table::Index, history::run_name_key(lab.project, name));
        lab.rows
            .get(&key)
            .and_then(|value| history::parse_run_id(value))
    }

    #[test]
    fn a_forgotten_run_is_on_disk_as_it_was() {
        let mut lab = Lab::new();
        let run = stopped(&mut lab, "train");
        let before = lab.run("train");
        let jobs: Vec<_> = lab
            .state
            .submissions_of(run)
            .map(|s| s.as_ref().clone())
            .collect();
        lab.system(ForgetRuns { runs: vec![run] }).unwrap();
        assert!(lab.state.run(run).is_none());
        assert!(lab.state.submissions().next().is_none());
        let past = read_back(&lab, run).unwrap();
        assert_eq!(past.run, *before);
        assert_eq!(past.run.status, RunStatus::Terminated);
        assert_eq!(past.submissions, jobs);
        assert_eq!(named(&lab, "train"), Some(run));
        // Nothing of it is left among the live rows.
        let id = run.bytes();
        let live = lab
            .rows
            .keys()
            .filter(|(table, key)| *table == Table::Live && key.windows(16).any(|w| w == id));
        assert_eq!(live.count(), 0);
    }

    #[test]
    fn the_name_of_a_forgotten_run_can_be_freed_and_taken() {
        let mut lab = Lab::new();
        let run = stopped(&mut lab, "train");
        lab.system(ForgetRuns { runs: vec![run] }).unwrap();
        let next = lab.submit("train", json!({})).id;
        assert_eq!(named(&lab, "train"), Some(next));
        lab.system(ForgetRuns { runs: vec![next] }).unwrap();
        assert!(lab.state.run(next).is_some(), "a live run is not forgotten");
        let run = stopped(&mut lab, "other");
        lab.system(ForgetRuns { runs: vec![run] }).unwrap();
        lab.admin(DeleteRuns {
            project: lab.project,
            names: vec!["other".into()],
        })
        .unwrap();
        assert_eq!(named(&lab, "other"), None);
    }

    #[test]
    fn runs_of_a_project_are_listed_by_time() {
        let mut lab = Lab::new();
        let first = stopped(&mut lab, "first");
        lab.wait(10);
        let second = stopped(&mut lab, "second");
        lab.system(ForgetRuns {
            runs: vec![first, second],
        })
        .unwrap();
        let prefix = history::runs_prefix(lab.project);
        let keys = lab
            .rows
            .keys()
            .filter(|(table, key)| *table == Table::Index && key.starts_with(&prefix));
        let ids: Vec<_> = keys
            .filter_map(|(_, key)| history::parse_run_place(key))
            .map(|(_, id)| id)
            .collect();
        assert_eq!(ids, [first, second]);
    }
}
