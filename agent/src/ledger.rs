//! What the agent has promised: the highest epoch it has seen and the last set it accepted.
//!
//! It is on disk before anything is done about it. An epoch lower than the one here is refused,
//! so a leader that was deposed, and does not know it, moves no job.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decide::Want;
use crate::durable;

/// Form of the file; a newer agent's ledger is refused, not misread.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    format: u32,
    pub cluster_id: String,
    pub instance_id: String,
    pub epoch: u64,
    pub generation: u64,
    pub desired: BTreeMap<Uuid, Want>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("epoch {epoch} is over: this host has already obeyed epoch {seen}")]
    OldEpoch { epoch: u64, seen: u64 },
    #[error(
        "generation {generation} of epoch {epoch} is over: generation {seen} has been accepted"
    )]
    OldGeneration {
        epoch: u64,
        generation: u64,
        seen: u64,
    },
    #[error(
        "this host runs jobs of cluster {owner}; delete it from that cluster's fleet first, \
         or stop its agent and remove the agent's home"
    )]
    OtherCluster { owner: String },
    #[error("the agent cannot write its ledger: {0}")]
    Disk(String),
}

/// The file, and what is in it.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    accepted: Accepted,
}

impl Ledger {
    pub fn open(path: &Path) -> io::Result<Self> {
        let accepted: Accepted = durable::read_json(path)?.unwrap_or_default();
        if accepted.format > FORMAT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} was written by a newer agent (form {}, this one knows {FORMAT}); start that one",
                    path.display(),
                    accepted.format
                ),
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            accepted,
        })
    }

    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// A server says who it is. `busy`: jobs have not ended here, so the host cannot change hands.
    pub fn meet(
        &mut self,
        cluster: &str,
        instance: &str,
        epoch: u64,
        busy: bool,
    ) -> Result<(), Refusal> {
        let mut next = self.accepted.clone();
        if !cluster.is_empty() && cluster != next.cluster_id {
            if next.cluster_id.is_empty() {
                next.cluster_id = cluster.to_owned();
            } else if busy {
                return Err(Refusal::OtherCluster {
                    owner: next.cluster_id,
                });
            } else {
                // Epochs of another cluster mean nothing here.
                next = Accepted {
                    cluster_id: cluster.to_owned(),
                    ..Accepted::default()
                };
            }
        }
        if !instance.is_empty() {
            next.instance_id = instance.to_owned();
        }
        if epoch > next.epoch {
            next.epoch = epoch;
            next.generation = 0;
        }
        self.store(next)
    }

    /// Takes a new desired set, or says why not. On disk when it returns.
    pub fn accept(
        &mut self,
        epoch: u64,
        generation: u64,
        desired: BTreeMap<Uuid, Want>,
    ) -> Result<(), Refusal> {
        let seen = &self.accepted;
        if epoch < seen.epoch {
            return Err(Refusal::OldEpoch {
                epoch,
                seen: seen.epoch,
            });
        }
        if epoch == seen.epoch && generation < seen.generation {
            return Err(Refusal::OldGeneration {
                epoch,
                generation,
                seen: seen.generation,
            });
        }
        self.store(Accepted {
            epoch,
            generation,
            desired,
            ..seen.clone()
        })
    }

    /// The host is given back: whoever comes next starts from nothing.
    pub fn release(&mut self) -> Result<(), Refusal> {
        self.store(Accepted::default())
    }

    fn store(&mut self, mut next: Accepted) -> Result<(), Refusal> {
        next.format = FORMAT;
        if next != self.accepted {
            durable::write_json(&self.path, &next)
                .map_err(|error| Refusal::Disk(error.to_string()))?;
            self.accepted = next;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::WantPhase;

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.json")).unwrap();
        (dir, ledger)
    }

    fn set(id: u128) -> BTreeMap<Uuid, Want> {
        BTreeMap::from([(
            Uuid::from_u128(id),
            Want {
                phase: WantPhase::Run,
                grace_s: 10,
            },
        )])
    }

    #[test]
    fn a_lower_epoch_is_refused_even_after_a_restart() {
        let (dir, mut ledger) = ledger();
        ledger.accept(5, 1, set(1)).unwrap();
        let mut again = Ledger::open(&dir.path().join("ledger.json")).unwrap();
        assert_eq!(again.accepted(), ledger.accepted());
        assert_eq!(
            again.accept(4, 9, set(2)),
            Err(Refusal::OldEpoch { epoch: 4, seen: 5 })
        );
        assert_eq!(again.accepted().desired, set(1));
    }

    #[test]
    fn generations_do_not_go_back_within_an_epoch_and_start_anew_with_the_next() {
        let (_dir, mut ledger) = ledger();
        ledger.accept(5, 7, set(1)).unwrap();
        assert!(matches!(
            ledger.accept(5, 6, set(2)),
            Err(Refusal::OldGeneration { .. })
        ));
        ledger.accept(5, 7, set(1)).unwrap();
        ledger.accept(6, 1, set(2)).unwrap();
    }

    #[test]
    fn meeting_a_newer_leader_fences_the_older_before_it_has_said_anything() {
        let (_dir, mut ledger) = ledger();
        ledger.meet("c", "i", 3, false).unwrap();
        ledger.accept(3, 1, set(1)).unwrap();
        ledger.meet("c", "i", 4, true).unwrap();
        assert!(matches!(
            ledger.accept(3, 2, set(2)),
            Err(Refusal::OldEpoch { .. })
        ));
        ledger.accept(4, 1, set(1)).unwrap();
    }

    #[test]
    fn a_busy_host_does_not_change_hands_and_an_idle_one_does() {
        let (_dir, mut ledger) = ledger();
        ledger.meet("one", "i", 9, false).unwrap();
        let refusal = ledger.meet("two", "j", 1, true).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::OtherCluster {
                owner: "one".into()
            }
        );
        ledger.meet("two", "j", 1, false).unwrap();
        assert_eq!(
            (
                ledger.accepted().epoch,
                ledger.accepted().cluster_id.as_str()
            ),
            (1, "two")
        );
    }

    #[test]
    fn learning_the_clusters_name_changes_nothing_else() {
        let (_dir, mut ledger) = ledger();
        ledger.accept(3, 2, set(1)).unwrap();
        ledger.meet("c", "i", 3, true).unwrap();
        assert_eq!(
            (ledger.accepted().epoch, &ledger.accepted().desired),
            (3, &set(1))
        );
    }

    #[test]
    fn a_newer_form_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        std::fs::write(
            &path,
            r#"{"format":2,"cluster_id":"","instance_id":"","epoch":1,"generation":1,"desired":{}}"#,
        )
        .unwrap();
        assert!(
            Ledger::open(&path)
                .unwrap_err()
                .to_string()
                .contains("newer agent")
        );
    }
}
