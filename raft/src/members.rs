//! Changing who is in the cluster. At the leader only; ids are for life and never used twice.

use std::collections::BTreeSet;

use openraft::ChangeMembers;
use openraft::errors::{ClientWriteError, RaftError};

use crate::NodeId;
use crate::error::MembershipError;
use crate::formation::id_at;
use crate::handle::Handle;
use crate::types::{Member, TypeConfig};

type Outcome<T> = Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>;

impl Handle {
    /// Adds a replica that receives the log but does not vote. Its id is taken from the log index of
    /// a blank entry, so no id is ever given out twice. The replica is started with `join` and takes
    /// its place when it hears of it.
    pub async fn add_learner(&self, name: &str, addr: &str) -> Result<NodeId, MembershipError> {
        crate::tls::check_name(name).map_err(|e| MembershipError::Refused(e.to_string()))?;
        if let Some(peer) = self.peers().list().into_iter().find(|p| p.name == name) {
            return Err(MembershipError::NameTaken {
                name: name.to_owned(),
                id: peer.id,
            });
        }
        let running = self.running()?;
        let blank = self.told(running.raft.write_blank().await)?;
        let id = id_at(blank.log_id.index);
        let member = Member {
            name: name.to_owned(),
            addr: addr.to_owned(),
        };
        self.told(running.raft.add_learner(id, member, false).await)?;
        Ok(id)
    }

    /// Makes a learner a voter. One that is far behind would hold up commits: look at its lag first.
    pub async fn promote(&self, id: NodeId) -> Result<(), MembershipError> {
        self.known(id)?;
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
        self.told(self.running()?.raft.change_membership(change, true).await)?;
        Ok(())
    }

    /// Removes a member. A leader that removes itself hands over and steps down.
    pub async fn remove(&self, id: NodeId) -> Result<(), MembershipError> {
        self.known(id)?;
        let metrics = self.metrics()?;
        let ids = BTreeSet::from([id]);
        let voter = metrics
            .membership_config
            .voter_ids()
            .any(|voter| voter == id);
        let change = if voter {
            ChangeMembers::RemoveVoters(ids)
        } else {
            ChangeMembers::RemoveNodes(ids)
        };
        self.told(self.running()?.raft.change_membership(change, false).await)?;
        Ok(())
    }

    /// Tells where this replica is reached from now on. Only for a single voter that leads: nobody
    /// dials it yet, so no majority can be split by a wrong address.
    pub async fn readdress(&self, addr: &str) -> Result<(), MembershipError> {
        let metrics = self.metrics()?;
        let membership = metrics.membership_config.membership();
        let mut nodes = membership.nodes();
        let (Some((id, member)), None) = (nodes.next(), nodes.next()) else {
            return Err(MembershipError::Refused(
                "only a replica that is alone changes its own address".to_owned(),
            ));
        };
        let member = Member {
            name: member.name.clone(),
            addr: addr.to_owned(),
        };
        let change = ChangeMembers::SetNodes([(*id, member)].into());
        self.told(self.running()?.raft.change_membership(change, true).await)?;
        Ok(())
    }

    fn known(&self, id: NodeId) -> Result<(), MembershipError> {
        if self.peers().list().iter().any(|p| p.id == id) {
            Ok(())
        } else {
            Err(MembershipError::Unknown(id))
        }
    }

    fn told<T>(&self, outcome: Outcome<T>) -> Result<T, MembershipError> {
        outcome.map_err(|e| match e {
            RaftError::Fatal(_) => self.stopped().into(),
            RaftError::APIError(ClientWriteError::ForwardToLeader(f)) => {
                MembershipError::NotLeader {
                    leader: f.leader_id,
                }
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                MembershipError::OutcomeUnknown
            }
            RaftError::APIError(e) => MembershipError::Refused(e.to_string()),
        })
    }
}
