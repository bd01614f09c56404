//! Uploaded archives: one record per user and content, for as long as somebody may want it.

use super::{Outcome, Reply};
use crate::access;
use crate::ids::ArchiveId;
use crate::model::Archive;
use crate::state::Draft;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Proposed after a majority stores the bytes. The same content again answers the first id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterArchive {
    pub id: ArchiveId,
    pub sha256: String,
    pub size: u64,
}

impl RegisterArchive {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let user = access::require_person(draft, draft.actor)?;
        let known = draft.archive_by_hash(user.id, &self.sha256);
        let id = known.map_or(self.id, |archive| archive.id);
        let archive = Archive {
            id,
            user_id: user.id,
            sha256: self.sha256.clone(),
            size: self.size,
            used_at: draft.at,
        };
        draft.put_archive(archive);
        Ok(Reply::Archive(id))
    }
}

/// Forgets the archives among these whose time is over; one that an unfinished run names gets
/// another term. Whose time it is is judged here: between the decision and now it may have been
/// uploaded again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepArchives {
    pub archives: Vec<ArchiveId>,
}

impl SweepArchives {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        let named = Named::by_unfinished_runs(draft);
        for id in &self.archives {
            let Some(archive) = draft.archive(*id).cloned() else {
                continue;
            };
            if archive.due_at() > draft.at {
                continue;
            }
            if named.includes(&archive) {
                let used_at = draft.at;
                draft.put_archive(Archive {
                    used_at,
                    ..archive.as_ref().clone()
                });
            } else {
                draft.remove_archive(*id);
            }
        }
        Ok(Reply::None)
    }
}

/// What runs name: their files by record, their code by content.
#[derive(Default)]
struct Named {
    files: BTreeSet<ArchiveId>,
    code: BTreeSet<String>,
}

impl Named {
    fn by_unfinished_runs(draft: &Draft) -> Self {
        let mut named = Self::default();
        for run in draft.unfinished_runs() {
            let files = run.spec.file_archives.iter();
            named
                .files
                .extend(files.map(|file| ArchiveId::from(file.id)));
            named.code.extend(run.spec.repo_code_hash.clone());
        }
        named
    }

    fn includes(&self, archive: &Archive) -> bool {
        self.files.contains(&archive.id) || self.code.contains(&archive.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{FinishRun, StopRuns};
    use crate::spec::FileArchiveMapping;
    use crate::state::Table;
    use crate::state::rows::RowKey;
    use crate::testing::{Lab, admin};
    use serde_json::json;

    const DAY: i64 = 24 * 3600;

    fn upload(lab: &mut Lab, number: u8) -> ArchiveId {
        let command = RegisterArchive {
            id: ArchiveId::from_random([number; 16]),
            sha256: format!("{number:064x}"),
            size: 10,
        };
        match lab.admin(command).unwrap() {
            Reply::Archive(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn sweep(lab: &mut Lab) -> usize {
        let archives = lab.state.archives().map(|archive| archive.id).collect();
        lab.system(SweepArchives { archives }).unwrap();
        lab.state.archives().count()
    }

    #[test]
    fn an_archive_nobody_names_goes_after_a_day_and_takes_its_row_along() {
        let mut lab = Lab::new();
        let id = upload(&mut lab, 1);
        lab.wait(DAY - 1);
        assert_eq!(sweep(&mut lab), 1);
        lab.wait(1);
        assert_eq!(sweep(&mut lab), 0);
        assert!(
            lab.state
                .archive_by_hash(admin(), &format!("{:064x}", 1))
                .is_none()
        );
        let row = (Table::Live, RowKey::Archive(id).bytes());
        assert!(!lab.rows.contains_key(&row));
    }

    #[test]
    fn an_upload_of_the_same_content_starts_its_day_anew_under_the_same_id() {
        let mut lab = Lab::new();
        let first = upload(&mut lab, 1);
        lab.wait(DAY - 1);
        let again = RegisterArchive {
            id: ArchiveId::from_random([2; 16]),
            sha256: format!("{:064x}", 1),
            size: 10,
        };
        assert_eq!(lab.admin(again).unwrap(), Reply::Archive(first));
        lab.wait(DAY - 1);
        assert_eq!(sweep(&mut lab), 1);
    }

    #[test]
    fn whoever_is_told_of_an_archive_has_half_a_day_to_use_it() {
        let mut lab = Lab::new();
        let id = upload(&mut lab, 1);
        lab.wait(DAY / 2 - 1);
        let told = lab.state.archive(id).unwrap().clone();
        assert!(told.is_shown(lab.now));
        lab.wait(DAY / 2);
        assert_eq!(sweep(&mut lab), 1);
        assert!(!told.is_shown(lab.now));
    }

    #[test]
    fn files_and_code_of_an_unfinished_run_stay_until_it_ends() {
        let mut lab = Lab::new();
        let (files, code) = (upload(&mut lab, 1), upload(&mut lab, 2));
        let mut spec = lab.run_spec("train", json!({}));
        spec.file_archives = vec![FileArchiveMapping {
            id: files.0,
            path: "/data".into(),
        }];
        spec.repo_code_hash = Some(format!("{:064x}", 2));
        let run = lab.submit_spec("train", spec).id;
        lab.wait(10 * DAY);
        assert_eq!(sweep(&mut lab), 2);
        assert!(lab.state.archive(code).unwrap().is_shown(lab.now));
        lab.admin(StopRuns {
            project: lab.project,
            names: vec!["train".into()],
            abort: false,
        })
        .unwrap();
        lab.system(FinishRun { run }).unwrap();
        assert_eq!(sweep(&mut lab), 2, "their new term is not over");
        lab.wait(DAY);
        assert_eq!(sweep(&mut lab), 0);
    }
}
